"""What a frame costs on average over the key-frame period, as a share of the static network's frame."""

import copy
import statistics

import torch
from torch import nn

from vseg_nas.evaluation.latency import measure, random_frames
from vseg_nas.models.cell import DynamicCell
from vseg_nas.models.inference import optimized
from vseg_nas.models.propagation import CellPropagation
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.models.video_segmenter import VideoSegmenter

_WARMUP = 2


def frame_cost(
    cell: DynamicCell, classifier: nn.Conv2d, size: tuple[int, int], key_every: int, repeats: int, device: torch.device
) -> float:
    """Measures the average time of a frame, over that of a key frame.

    Key frames and frames of the cell are timed by turns, so the load of the machine changes both alike. Weights do not
    change the time, so a static network with random weights takes the place of the real one.

    Args:
        cell: The cell; it is copied.
        classifier: The classifier, which tells the number of classes.
        size: Height and width of the frames.
        key_every: The number of frames from one key frame to the next, N: the average is (static + (N - 1) cell) / N.
        repeats: The number of timed frames of each kind.
        device: The device to time on.
    """
    with torch.random.fork_rng():
        static = StaticSegmenter(tuple(map(str, range(classifier.out_channels))))
    network = VideoSegmenter(static, CellPropagation(copy.deepcopy(cell), copy.deepcopy(classifier)))
    latency = measure(optimized(network.to(device)), random_frames(size, device), repeats, _WARMUP)
    return statistics.median(latency.average(key_every)) / statistics.median(latency.static)
