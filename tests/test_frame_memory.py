"""Frames that no memory can take: refused where they cannot fit, and only there."""

from __future__ import annotations

import pytest

from vseg_nas.assembly import frame_memory
from vseg_nas.assembly.frame_memory import BYTES_PER_PIXEL, check_frame_memory
from vseg_nas.errors import ConfigError
from vseg_nas.machine import bytes_in_words


@pytest.mark.parametrize(
    ("size", "frames", "fits"),
    [((1024, 1024), 1, True), ((1025, 1024), 1, False), ((512, 1024), 2, True), ((512, 1024), 3, False)],
)
def test_what_does_not_fit_is_refused(
    monkeypatch: pytest.MonkeyPatch, size: tuple[int, int], frames: int, fits: bool
) -> None:
    monkeypatch.setattr(frame_memory, "_free", lambda cuda: BYTES_PER_PIXEL * 2**20)
    if fits:
        check_frame_memory("size", size, frames)
    else:
        with pytest.raises(ConfigError, match=r"^size: found .*frames of .* take .* MiB .*, .* 120.0 MiB"):
            check_frame_memory("size", size, frames)


def test_the_usual_sizes_fit_here() -> None:
    check_frame_memory("size", (1024, 2048))


def test_the_smallest_network_takes_no_less(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is refused could not have been computed; what is refused too late is not counted here."""
    import torch

    from vseg_nas.evaluation.memory import peak_memory
    from vseg_nas.models.inference import optimized
    from vseg_nas.models.propagation import CopyPrevious
    from vseg_nas.models.static import StaticSegmenter
    from vseg_nas.models.video_segmenter import VideoSegmenter

    segmenter = optimized(VideoSegmenter(StaticSegmenter(("a", "b"), auxiliary=False), CopyPrevious(), 1).eval())
    small, large = (peak_memory(segmenter, torch.zeros(2, 3, side, side)) * 2**20 for side in (64, 192))
    assert BYTES_PER_PIXEL < (large - small) / (192**2 - 64**2) < 2 * BYTES_PER_PIXEL


@pytest.mark.parametrize(
    ("count", "words"),
    [
        (0, "0 bytes"),
        (1023, "1023 bytes"),
        (1024, "1.0 KiB"),
        (3 * 2**19, "1.5 MiB"),
        (12 * 2**30, "12.0 GiB"),
        (2**60, "1,048,576.0 TiB"),
    ],
)
def test_bytes_in_words(count: int, words: str) -> None:
    assert bytes_in_words(count) == words
