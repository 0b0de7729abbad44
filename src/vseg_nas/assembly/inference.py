"""A trained network to label video with, or to export."""

from pathlib import Path

from vseg_nas.models.segmenter_file import SegmenterSpec, load_segmenter
from vseg_nas.models.video import VideoSegmenter
from vseg_nas.shipped import shipped_checkpoint


def load_for_inference(checkpoint: str | None) -> tuple[VideoSegmenter, SegmenterSpec]:
    """Reads a network.

    Args:
        checkpoint: A file that `train` wrote; None means the bundled checkpoint.

    Raises:
        DataError: It cannot be used.
    """
    return load_segmenter(shipped_checkpoint() if checkpoint is None else Path(checkpoint))
