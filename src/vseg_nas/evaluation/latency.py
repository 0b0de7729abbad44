"""Measures the time of a key frame, and of a frame that is labelled from the one before it (Table 5 of the paper).

Legend: N frames from one key frame to the next, H, W pixels. Times are milliseconds.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vseg_nas.models.video_segmenter import VideoSegmenter

_SEED = 0


@dataclass(frozen=True)
class Latency:
    """Measured times of single calls, in milliseconds.

    Attributes:
        static: The times of key frames.
        dynamic: The times of the frames after them, in the same order; None for a network with key frames only.
    """

    static: tuple[float, ...]
    dynamic: tuple[float, ...] | None

    def average(self, frames: int) -> tuple[float, ...]:
        """Returns the mean time per frame if one of ``frames`` = N is a key frame: (static + (N - 1) dynamic) / N.

        Raises:
            ValueError: The network has key frames only.
        """
        if self.dynamic is None:
            raise ValueError("average: found key frames alone, expected the times of others too")
        pairs = zip(self.static, self.dynamic, strict=True)
        return tuple((static + (frames - 1) * dynamic) / frames for static, dynamic in pairs)


def random_frames(size: tuple[int, int], device: torch.device) -> Tensor:
    """Returns two normalised frames (2, 3, H, W) of noise, the same at every call and on every device."""
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(_SEED)).to(device)


def measure(
    segmenter: VideoSegmenter,
    frames: Tensor,
    repeats: int,
    warmup: int,
    tick: Callable[[], None] = lambda: None,
) -> Latency:
    """Times single frames in turn: static, dynamic, static, dynamic and so on.

    `VideoSegmenter.step` is timed, from one normalised frame to its class ids at full size, both on the device. That is
    the network, the upsampling of its logits and the argmax, without reading, normalising and copying frames. Both
    kinds of frame are timed under the same load of the machine, so their ratio holds even if the load changes.

    Args:
        segmenter: The network, in evaluation mode, on the device of ``frames``; with ``key_every=1`` it has key frames
            only.
        frames: (2, 3, H, W) a key frame and the frame after it, normalised.
        repeats: The number of timed calls of each kind.
        warmup: The number of untimed calls of each kind before; the first calls choose algorithms and allocate memory.
        tick: Is called after each turn, warm-up included.
    """
    key_frame, next_frame = frames
    static, dynamic = [], []
    for _ in range(warmup + repeats):
        static.append(_milliseconds(segmenter, key_frame, key=True))
        if segmenter.key_every != 1:
            dynamic.append(_milliseconds(segmenter, next_frame, key=False))
        tick()
    segmenter.reset()
    return Latency(tuple(static[warmup:]), tuple(dynamic[warmup:]) or None)


def _milliseconds(segmenter: VideoSegmenter, frame: Tensor, key: bool) -> float:
    start = now(frame.device)
    segmenter.step(frame, key)
    return 1e3 * (now(frame.device) - start)


def now(device: torch.device) -> float:
    """Returns the time in seconds after the device has finished all its work, since CUDA computes asynchronously."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
