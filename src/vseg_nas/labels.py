"""The one convention of masks that data, losses and metrics share."""

IGNORE = 255
"""Mask id of pixels that belong to no class; they count in no loss and no metric."""
