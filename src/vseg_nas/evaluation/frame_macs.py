"""Counts the multiply-accumulate operations (MACs) of one frame."""

from vseg_nas.models.complexity import count_macs
from vseg_nas.models.propagation import AverageOverTime, CellPropagation, EachFrame
from vseg_nas.models.video_segmenter import VideoSegmenter


def frame_macs(segmenter: VideoSegmenter, size: tuple[int, int]) -> tuple[int, int | None]:
    """Returns the MACs of a key frame and of a frame after it (encoder, cell and classifier).

    Optical flow and warping along it are not networks and do not count. No frame is computed.

    Args:
        segmenter: A network with a cell, or a baseline.
        size: Height and width of the frames in pixels.

    Returns:
        MACs of a key frame, and of a frame after it; the latter is None if all frames are key frames.
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
