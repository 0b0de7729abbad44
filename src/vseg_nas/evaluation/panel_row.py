"""One frame, what two networks made of it and the truth, for pictures; no torch here.

Legend: H, W.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PanelRow:
    """One frame of a panel.

    Attributes:
        name: of the frame.
        frame: (H, W, 3) uint8, RGB.
        static: (H, W) uint8, class ids that the static network predicts.
        ours: (H, W) uint8, those that the cell predicts.
        truth: (H, W) uint8, ids with 255 for void, which is drawn black.
        static_miou: of this frame alone, a fraction; None where it has no labels.
        ours_miou: the same of the cell.

    Raises:
        ValueError: on construction, for another shape or type.
    """

    name: str
    frame: NDArray[np.uint8]
    static: NDArray[np.uint8]
    ours: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    static_miou: float | None = None
    ours_miou: float | None = None

    def __post_init__(self) -> None:
        """Refuses arrays that are not of one frame."""
        size = self.frame.shape[:2]
        for name, shape in (("frame", (*size, 3)), ("static", size), ("ours", size), ("truth", size)):
            array = getattr(self, name)
            if array.dtype != np.uint8 or array.shape != shape:
                raise ValueError(f"{name}: found {array.dtype} {array.shape}, expected uint8 {shape}")
