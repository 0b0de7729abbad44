"""Conventions of class ids and their colours, shared by data, losses, metrics and predictions."""

Colour = tuple[int, int, int]
"""RGB, each in 0..255."""

IGNORE = 255
"""Mask id of pixels that belong to no class; they count in no loss and no metric."""
