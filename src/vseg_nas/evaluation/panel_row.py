"""One row of a panel (Figures 5 and 6): a frame, the predictions of two networks and the ground truth; no torch here.

Legend: H, W pixels.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class PanelRow:
    """One row of a panel: one frame.

    Attributes:
        name: The name of the frame.
        frame: (H, W, 3) uint8, the frame in RGB.
        static: (H, W) uint8, the class ids that the static network predicts.
        ours: (H, W) uint8, the class ids that the network with the cell predicts.
        truth: (H, W) uint8, the ground truth: class ids, or 255 for void, which is drawn black.
        static_miou: The mIoU of `static` on this frame, a fraction; None if the frame has no labels.
        ours_miou: The mIoU of `ours` on this frame.

    Raises:
        ValueError: On construction, if an array has another shape or type.
    """

    name: str
    frame: NDArray[np.uint8]
    static: NDArray[np.uint8]
    ours: NDArray[np.uint8]
    truth: NDArray[np.uint8]
    static_miou: float | None = None
    ours_miou: float | None = None

    def __post_init__(self) -> None:
        """Checks types and shapes."""
        size = self.frame.shape[:2]
        for name, shape in (("frame", (*size, 3)), ("static", size), ("ours", size), ("truth", size)):
            array = getattr(self, name)
            if array.dtype != np.uint8 or array.shape != shape:
                raise ValueError(f"{name}: found {array.dtype} {array.shape}, expected uint8 {shape}")
