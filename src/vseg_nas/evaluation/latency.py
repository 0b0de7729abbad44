"""How long a key frame takes, and a frame that is labelled from the one before it (Table 5).

Legend: N frames from one key frame to the next, H, W pixels. Times are milliseconds.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor

from vseg_nas.models.video import VideoSegmenter

_SEED = 0


@dataclass(frozen=True)
class Latency:
    """Times of single calls, in milliseconds.

    Attributes:
        static: of key frames.
        dynamic: of the frames after them, pair by pair; None for a network that has key frames alone.
    """

    static: tuple[float, ...]
    dynamic: tuple[float, ...] | None

    def average(self, frames: int) -> tuple[float, ...]:
        """Mean time a frame where one of ``frames`` = N is a key frame: (static + (N - 1) dynamic) / N of each pair.

        Raises:
            ValueError: there are key frames alone.
        """
        if self.dynamic is None:
            raise ValueError("average: found key frames alone, expected the times of others too")
        pairs = zip(self.static, self.dynamic, strict=True)
        return tuple((static + (frames - 1) * dynamic) / frames for static, dynamic in pairs)


def random_frames(size: tuple[int, int], device: torch.device) -> Tensor:
    """Two normalised frames (2, 3, H, W) of noise, the same each time, whatever the device."""
    return torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(_SEED)).to(device)


def measure(
    segmenter: VideoSegmenter,
    frames: Tensor,
    repeats: int,
    warmup: int,
    tick: Callable[[], None] = lambda: None,
) -> Latency:
    """Times single frames by turns: static, dynamic, static, dynamic and so on.

    What is timed is `VideoSegmenter.step`: from one normalised frame to its class ids at full size, both on the device,
    that is the network, the upsampling of its logits and the argmax. Reading, normalising and copying frames is not.
    Both kinds of frame meet the same machine, so their ratio holds even where their times drift.

    Args:
        segmenter: in evaluation mode, on the device of ``frames``; one with ``key_every=1`` has key frames alone.
        frames: (2, 3, H, W), a key frame and the one after it.
        repeats: timed calls of each kind.
        warmup: calls of each kind before those, not timed: the first ones choose algorithms and take memory.
        tick: called after each turn, warm-up included.
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
    """The clock, in seconds, once the device has done all that it was given: CUDA works behind the program's back."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return time.perf_counter()
