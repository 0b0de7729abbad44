"""Architecture search for dynamic cells in semantic video segmentation."""

__version__ = "0.1.0"
