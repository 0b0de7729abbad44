"""Small videos, made with PyAV, whose content is known; and a predictor without a network."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

from vseg_nas.pictures import Image, Size
from vseg_nas.video.predictor import Floats, Predictor

CLASSES = ("dark", "bright")


def write_video(
    path: Path,
    images: Sequence[Image],
    rate: int = 25,
    ticks: Sequence[int] | None = None,
    rotation: int = 0,
    gop: int = 12,
    matrix: Sequence[int] | None = None,
    aspect: Fraction | None = None,
) -> Path:
    """Writes frames; `ticks` are their times in thousandths of a second, `rotation` turns them anti-clockwise.

    `matrix` is the display matrix as it is, `aspect` that of a pixel.
    """
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=rate)
        stream.height, stream.width = images[0].shape[:2]
        stream.pix_fmt = "yuv420p"
        stream.codec_context.gop_size = gop
        stream.codec_context.time_base = Fraction(1, 1000) if ticks else Fraction(1, rate)
        if rotation:
            stream.set_display_rotation(rotation)
        if matrix:
            stream.set_display_matrix(matrix)
        if aspect:
            stream.codec_context.sample_aspect_ratio = aspect
        for index, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            frame.pts = ticks[index] if ticks else index
            frame.time_base = stream.codec_context.time_base
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def grey_ramp(count: int, size: Size = (48, 64)) -> list[Image]:
    """Frames of one grey value each, rising from 20 to 230: frame i is told by its mean."""
    values = np.linspace(20, 230, count)
    return [np.full((*size, 3), round(value), np.uint8) for value in values]


def bright_corner(size: Size = (48, 64)) -> Image:
    """Dark, with the upper left quarter bright."""
    image = np.full((*size, 3), 20, np.uint8)
    image[: size[0] // 2, : size[1] // 2] = 235
    return image


class Threshold(Predictor):
    """Labels pixels above the middle grey 1, others 0; knows how often it was asked."""

    def __init__(self, size: Size | None = None, sure: Sequence[float] = ()) -> None:
        super().__init__(CLASSES, ((0, 0, 0), (255, 255, 255)), (0.0,) * 3, (1.0,) * 3, size)
        self.keys: list[bool] = []
        self._sure = list(sure)

    def predict(self, frame: Floats, key: bool, size: Size) -> Image:
        self.keys.append(key)
        assert size == frame.shape[-2:]
        labels: NDArray[np.uint8] = (frame[0].mean(0) > 0.5).astype(np.uint8)
        return labels

    def confidence(self) -> float:
        return self._sure[len(self.keys) - 1]

    def reset(self) -> None:
        self.keys.clear()
