"""Frames and their sources.

Legend: H, W pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

from vseg_nas.pictures import Image


@dataclass(frozen=True)
class Frame:
    """One frame of a source.

    Attributes:
        image: (H, W, 3) uint8, RGB, upright.
        time: The time since the first frame in seconds; it rises from frame to frame.
        name: The name of its file, with folders before slashes, or its number; unique within the source.
        sequence: The name of the sequence that it belongs to. A frame with another name begins a new sequence.
    """

    image: Image
    time: Fraction
    name: str
    sequence: str = ""


class FrameSource(Protocol):
    """Frames of one size, in order; each is read when it is requested.

    Attributes:
        size: Height and width of every frame in pixels.
        pixel_aspect: The width of a pixel over its height, as it is displayed.
        rate: Frames per second; the average if the rate varies.
        time_base: All times are integer multiples of this, in seconds.
        total: The number of frames; None if it is not known beforehand.
        endless: Whether only the user ends it, as with a camera.
        skipped: The number of frames so far that could not be decoded.
        first_error: The reason why the first skipped frame was skipped; empty if there was none.
    """

    size: tuple[int, int]
    pixel_aspect: Fraction
    rate: Fraction
    time_base: Fraction
    total: int | None
    endless: bool
    skipped: int
    first_error: str

    def __iter__(self) -> Iterator[Frame]:
        """Yields all frames; it can be called once."""
        ...

    def close(self) -> None:
        """Releases the file or the camera."""
        ...
