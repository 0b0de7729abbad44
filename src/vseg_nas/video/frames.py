"""What every source of frames gives.

Legend: H, W pixels.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

Image = NDArray[np.uint8]


@dataclass(frozen=True)
class Frame:
    """One frame.

    Attributes:
        image: (H, W, 3) uint8, RGB, upright.
        time: since the first frame, in seconds; rises from frame to frame.
        name: of its file, or its number: no other frame of the source has it. Folders in it stand before slashes.
        clip: what it is a part of; where this changes, a new video begins.
    """

    image: Image
    time: Fraction
    name: str
    clip: str = ""


class FrameSource(Protocol):
    """Frames of one size, in order, each read when it is asked for.

    Attributes:
        size: height and width of every frame.
        pixel_aspect: width of a pixel over its height, as it is shown.
        rate: frames a second; of a file whose rate varies, their average.
        time_base: all times are whole multiples of it, in seconds.
        total: how many frames there are, as far as that is known beforehand.
        endless: whether only the user ends it, as with a camera.
        skipped: frames so far that could not be decoded.
        complaint: what was wrong with the first of them.
    """

    size: tuple[int, int]
    pixel_aspect: Fraction
    rate: Fraction
    time_base: Fraction
    total: int | None
    endless: bool
    skipped: int
    complaint: str

    def __iter__(self) -> Iterator[Frame]:
        """The frames, once."""
        ...

    def close(self) -> None:
        """Frees the file or the camera."""
        ...
