"""The orientation in which a frame is displayed, from the display matrix of its file."""

from typing import NamedTuple

import av
import numpy as np

from vseg_nas.pictures import Image


class Orientation(NamedTuple):
    """One of the eight orientations of a frame.

    Attributes:
        mirrored: Whether left and right are exchanged, before the rotation.
        quarter_turns: The number of quarter turns anti-clockwise, 0 to 3.
    """

    mirrored: bool
    quarter_turns: int

    @classmethod
    def of_matrix(cls, a: int, b: int, c: int, d: int) -> "Orientation":
        """Returns the orientation that is nearest to a display matrix.

        A pixel (x, y), with y downwards, is displayed at (a x + c y, b x + d y). A singular matrix is ignored.
        """
        determinant = a * d - b * c
        if determinant == 0:
            return cls(False, 0)
        if determinant < 0:  # after mirroring, a rotation is left
            a, b = -a, -b
        return cls(determinant < 0, round(np.degrees(np.arctan2(c - b, a + d)) / 90) % 4)

    @classmethod
    def of(cls, frame: av.VideoFrame) -> "Orientation":
        """Returns the orientation of a decoded frame."""
        try:
            matrix = frame.side_data.get("DISPLAYMATRIX")
        except ValueError:  # PyAV lists no side data if it does not know the type of one, but it still reads the angle
            return cls(False, round(frame.rotation / 90) % 4)
        if matrix is None:
            return cls(False, 0)
        a, b, _, c, d = np.frombuffer(bytes(matrix), np.int32)[:5].tolist()  # type: ignore[call-overload]
        return cls.of_matrix(a, b, c, d)

    @property
    def is_sideways(self) -> bool:
        """Whether height and width are exchanged."""
        return self.quarter_turns % 2 == 1

    def upright(self, image: Image) -> Image:
        """Turns a frame (H, W, 3) as it is to be displayed."""
        return np.ascontiguousarray(np.rot90(image[:, ::-1] if self.mirrored else image, self.quarter_turns))
