"""Which frames become key frames.

Legend: K frames from one key frame to the next.
"""

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from vseg_nas.video.frames import Image

_THUMBNAIL = (32, 32)


class KeyPolicy(Protocol):
    """Asked before each frame of a video, told after it.

    Attributes:
        reads_confidence: whether `told` needs one.
    """

    reads_confidence: bool

    def wants_key(self, image: Image) -> bool:
        """Whether the next frame (H, W, 3) should be a key frame."""
        ...

    def told(self, key: bool, confidence: float) -> None:
        """That frame was labelled, as a key frame or not, with this mean confidence (see `Adaptive`)."""
        ...


class EveryK:
    """A key frame every K frames; None: the first alone."""

    reads_confidence = False

    def __init__(self, every: int | None) -> None:
        self._every = every
        self._since: int | None = None

    def wants_key(self, image: Image) -> bool:
        """Counts."""
        return self._since is None or self._since + 1 == self._every

    def told(self, key: bool, confidence: float) -> None:
        """Counts on."""
        self._since = 0 if key or self._since is None else self._since + 1


class Adaptive:
    """A key frame where the scene is cut or the labels lose confidence, and after K frames at the latest.

    Args:
        cut: a frame whose thumbnail differs by more from the one before begins a scene: mean absolute difference of
            32 x 32 grey values in 0..1.
        drop: if confidence falls by more below that of the last key frame, the next one is a key frame. Confidence is
            the mean over the plane of the probability of the likeliest class.
        every: K; None: no limit.
    """

    reads_confidence = True

    def __init__(self, cut: float, drop: float, every: int | None) -> None:
        self._cut = cut
        self._drop = drop
        self._steady = EveryK(every)
        self._before: NDArray[np.float32] | None = None
        self._at_key = 0.0
        self._lost = False

    def wants_key(self, image: Image) -> bool:
        """Compares with the frame before."""
        now = thumbnail(image)
        cut = self._before is not None and difference(now, self._before) > self._cut
        self._before = now
        return cut or self._lost or self._steady.wants_key(image)

    def told(self, key: bool, confidence: float) -> None:
        """Compares with the last key frame."""
        self._steady.told(key, confidence)
        if key:
            self._at_key = confidence
        self._lost = confidence < self._at_key - self._drop


def thumbnail(image: Image) -> NDArray[np.float32]:
    """(32, 32) float32, grey, 0..1, of a frame (H, W, 3)."""
    small = cv2.resize(image, _THUMBNAIL, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32) / np.float32(255)


def difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Mean absolute difference of two thumbnails."""
    return float(np.abs(one - other).mean())
