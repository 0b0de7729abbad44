"""Multiply-accumulate operations of one frame."""

from vseg_nas.models.complexity import count_macs
from vseg_nas.models.propagation import AverageOverTime, CellPropagation, EachFrame
from vseg_nas.models.video import VideoSegmenter


def frame_macs(segmenter: VideoSegmenter, size: tuple[int, int]) -> tuple[int, int | None]:
    """MACs of a key frame and of a frame after it: encoder, cell and classifier.

    Optical flow and warping along it are no networks and do not count. Nothing is computed.

    Args:
        segmenter: with a cell, or with what one has to beat.
        size: height and width of the frames.

    Returns:
        The two; None in place of the second where all frames are key frames.
    """
    static = count_macs(segmenter.static, (1, 3, *size))
    past = segmenter.propagation
    match past:
        case EachFrame():
            return static, None
        case AverageOverTime():
            return static, static
        case CellPropagation():
            without_flow = VideoSegmenter(segmenter.static, CellPropagation(past.cell, past.classifier, past.past))
            return static, count_macs(without_flow, (1, 2, 3, *size)) - static
    return static, 0
