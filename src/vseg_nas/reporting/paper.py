"""The numbers that the paper prints in its Tables 3 to 5, to stand beside ours. None of them was measured by us."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PaperScore:
    """One row of Table 3 or 4 of the paper.

    Attributes:
        method: The name that the paper gives; `arch2` is its per-frame baseline.
        miou: The mIoU in percent.
        note: The words of the paper on the method.
    """

    method: str
    miou: float
    note: str = ""


@dataclass(frozen=True)
class PaperScores:
    """Table 3 or 4 of the paper.

    Attributes:
        number: The number of the table.
        split: The split that the paper scored.
        size: The size of the frames of the paper's own rows, (H, W) in pixels.
        rows: The rows in the paper's order.
    """

    number: int
    split: str
    size: tuple[int, int]
    rows: tuple[PaperScore, ...]


@dataclass(frozen=True)
class PaperRuntime:
    """One row of Table 5 of the paper.

    Attributes:
        method: The name that the paper gives.
        device: The GPU; empty if the paper gives none.
        size: The size of a frame, (H, W) in pixels.
        parameters: The number of parameters of the whole network, in millions.
        at_least: Whether `parameters` is a lower bound.
        milliseconds: The time per frame; for cells an average over a clip whose length the paper does not state.
        std: The standard deviation of `milliseconds`; None if the paper gives none.
        kind: Whether `milliseconds` is the time of a static frame or an average.
    """

    method: str
    device: str
    size: tuple[int, int]
    parameters: float
    milliseconds: float
    std: float | None
    kind: Literal["static", "average"]
    at_least: bool = False


FLOW = "larger encoder, optical flow"
SCORES = {
    "camvid": PaperScores(
        3,
        "test",
        (360, 480),
        (
            PaperScore("arch2 per frame", 65.3),
            PaperScore("cell0", 66.6),
            PaperScore("cell1", 66.9),
            PaperScore("GRFP", 66.1, FLOW),
            PaperScore("Chandra et al.", 67.0, "larger encoder"),
            PaperScore("Gadde et al.", 67.1, FLOW),
        ),
    ),
    "cityscapes": PaperScores(
        4,
        "val",
        (1024, 2048),
        (
            PaperScore("arch2 per frame", 74.4),
            PaperScore("cell2", 75.6),
            PaperScore("cell3", 75.6),
            PaperScore("GRFP(5)", 69.5, FLOW),
            PaperScore("Xu et al.", 70.4, FLOW),
            PaperScore("Li et al.", 76.8, "larger encoder"),
            PaperScore("Gadde et al.", 80.6, FLOW),
        ),
    ),
}
"""Tables 3 and 4, by the name of the data set."""

FULL = (1024, 2048)
RUNTIMES = (
    PaperRuntime("arch2 per frame", "1080Ti", FULL, 2.85, 92.4, 0.3, "static"),
    PaperRuntime("cell0", "1080Ti", FULL, 3.35, 51.5, 1.8, "average"),
    PaperRuntime("cell1", "1080Ti", FULL, 3.19, 52.6, 1.8, "average"),
    PaperRuntime("cell2", "1080Ti", FULL, 3.24, 51.5, 1.9, "average"),
    PaperRuntime("cell3", "1080Ti", FULL, 3.30, 50.5, 1.9, "average"),
    PaperRuntime("GRFP", "TitanX", (512, 512), 40, 685, None, "average", at_least=True),
    PaperRuntime("Li et al.", "", FULL, 40, 171, None, "average", at_least=True),
    PaperRuntime("Gadde et al.", "TitanX", FULL, 60, 3040, None, "average", at_least=True),
)
"""The rows of Table 5."""
