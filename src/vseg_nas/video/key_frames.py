"""Policies that decide which frames of a video are key frames.

A frame becomes a key frame if a policy, or the ``key_every`` of the network itself, makes it one. A network from a file
has no ``key_every`` (but 1 without a cell), so `predict` decides by its policy and an evaluation by its protocol;
`load_predictor` sets ``key_every`` and needs no policy.

Legend: K frames from one key frame to the next.
"""

from typing import Protocol

import cv2
import numpy as np
from numpy.typing import NDArray

from vseg_nas.pictures import Image

_THUMBNAIL = (32, 32)


class KeyPolicy(Protocol):
    """Decides about each frame before it is predicted, and is updated afterwards.

    Attributes:
        reads_confidence: Whether `update` uses the confidence, which costs time to compute.
    """

    reads_confidence: bool

    def is_key_frame(self, image: Image) -> bool:
        """Returns whether the next frame (H, W, 3) should be a key frame."""
        ...

    def update(self, key: bool, confidence: float) -> None:
        """Takes note of a predicted frame.

        Args:
            key: Whether it was a key frame.
            confidence: The mean confidence of its labels, see `Adaptive`.
        """
        ...


class EveryK:
    """Makes every K-th frame a key frame.

    Args:
        every: K; None makes only the first frame a key frame.
    """

    reads_confidence = False

    def __init__(self, every: int | None) -> None:
        self._every = every
        self._since: int | None = None

    def is_key_frame(self, image: Image) -> bool:
        """Returns whether K frames have passed since the last key frame."""
        return self._since is None or self._since + 1 == self._every

    def update(self, key: bool, confidence: float) -> None:
        """Counts the frames since the last key frame."""
        self._since = 0 if key or self._since is None else self._since + 1


class Adaptive:
    """Makes a key frame at cuts, where the labels lose confidence, and after K frames at the latest.

    Args:
        cut: The difference to the previous frame above which a frame begins a new scene: the mean absolute difference
            of 32 x 32 grey values in 0..1.
        drop: The loss of confidence since the last key frame above which the next frame is a key frame. Confidence is
            the probability of the most likely class, averaged over the plane.
        every: K; None sets no limit.
    """

    reads_confidence = True

    def __init__(self, cut: float, drop: float, every: int | None) -> None:
        self._cut = cut
        self._drop = drop
        self._limit = EveryK(every)
        self._previous: NDArray[np.float32] | None = None
        self._key_confidence = 0.0
        self._is_unsure = False

    def is_key_frame(self, image: Image) -> bool:
        """Compares the frame with the previous one and the last confidence with its limit."""
        current = thumbnail(image)
        is_cut = self._previous is not None and difference(current, self._previous) > self._cut
        self._previous = current
        return is_cut or self._is_unsure or self._limit.is_key_frame(image)

    def update(self, key: bool, confidence: float) -> None:
        """Compares the confidence with that of the last key frame."""
        self._limit.update(key, confidence)
        if key:
            self._key_confidence = confidence
        self._is_unsure = confidence < self._key_confidence - self._drop


def thumbnail(image: Image) -> NDArray[np.float32]:
    """Shrinks a frame (H, W, 3) to grey values (32, 32) in 0..1, float32."""
    small = cv2.resize(image, _THUMBNAIL, interpolation=cv2.INTER_AREA)
    return cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32) / np.float32(255)


def difference(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Returns the mean absolute difference of two thumbnails."""
    return float(np.abs(one - other).mean())
