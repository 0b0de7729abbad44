"""How a frame is turned and mirrored before it is shown, as its display matrix says."""

from typing import NamedTuple

import av
import numpy as np

from vseg_nas.video.frames import Image


class Orientation(NamedTuple):
    """One of the eight ways to show a frame.

    Attributes:
        mirrored: whether left and right change places; that comes first.
        quarter_turns: anti-clockwise, 0 to 3.
    """

    mirrored: bool
    quarter_turns: int

    @classmethod
    def of_matrix(cls, a: int, b: int, c: int, d: int) -> "Orientation":
        """The way that is nearest to a display matrix.

        A pixel (x, y), y downwards, is shown at (a x + c y, b x + d y). A matrix that maps the plane to a line says
        nothing.
        """
        determinant = a * d - b * c
        if determinant == 0:
            return cls(False, 0)
        if determinant < 0:  # mirror first, and a rotation is left
            a, b = -a, -b
        return cls(determinant < 0, round(np.degrees(np.arctan2(c - b, a + d)) / 90) % 4)

    @classmethod
    def of(cls, frame: av.VideoFrame) -> "Orientation":
        """What the display matrix of a decoded frame says."""
        try:
            matrix = frame.side_data.get("DISPLAYMATRIX")
        except ValueError:  # PyAV lists no side data where it does not know the type of one, but reads the angle
            return cls(False, round(frame.rotation / 90) % 4)
        if matrix is None:
            return cls(False, 0)
        a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()  # type: ignore[call-overload]
        return cls.of_matrix(a, b, c, d)

    @property
    def lies(self) -> bool:
        """Whether height and width change places."""
        return self.quarter_turns % 2 == 1

    def upright(self, image: Image) -> Image:
        """A frame (H, W, 3) as it is shown."""
        return np.ascontiguousarray(np.rot90(image[:, ::-1] if self.mirrored else image, self.quarter_turns))
