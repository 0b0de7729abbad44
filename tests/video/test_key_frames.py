"""Which frames become key frames, told by hand."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from vseg_nas.pictures import Image
from vseg_nas.video.key_frames import Adaptive, EveryK, KeyPolicy, difference, thumbnail


def flat(grey: int) -> Image:
    return np.full((40, 60, 3), grey, np.uint8)


def keys(policy: KeyPolicy, images: Sequence[Image], sure: Sequence[float] | None = None) -> list[int]:
    """The places of the key frames."""
    found = []
    for index, image in enumerate(images):
        key = policy.is_key_frame(image)
        policy.update(key, sure[index] if sure else 1.0)
        if key:
            found.append(index)
    return found


def test_every_k() -> None:
    images = [flat(9)] * 11
    assert keys(EveryK(5), images) == [0, 5, 10]
    assert keys(EveryK(1), images) == list(range(11))
    assert keys(EveryK(None), images) == [0]


def test_a_cut_is_a_key_frame_and_a_fade_is_not() -> None:
    cut = [flat(20)] * 3 + [flat(200)] * 3
    fade = [flat(20 + 20 * step) for step in range(10)]
    assert keys(Adaptive(0.2, 9, None), cut) == [0, 3]
    assert keys(Adaptive(0.2, 9, None), fade) == [0]


def test_after_a_fall_of_confidence_the_next_frame_is_a_key_frame() -> None:
    sure = [0.9, 0.88, 0.79, 0.8, 0.75, 0.69, 0.9]
    assert keys(Adaptive(0.2, 0.1, None), [flat(9)] * 7, sure) == [0, 3, 6]


def test_key_frames_are_at_most_k_apart() -> None:
    assert keys(Adaptive(0.2, 0.1, 3), [flat(9)] * 8) == [0, 3, 6]


def test_the_difference_is_that_of_grey_values() -> None:
    assert difference(thumbnail(flat(51)), thumbnail(flat(204))) == np.float32(0.6)
