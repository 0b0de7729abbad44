"""The paper's own figures, as printed in its Tables 3 to 5, to stand beside ours. Nothing here was measured by us."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class PaperScore:
    """A row of Table 3 or 4.

    Attributes:
        method: as the paper names it; `arch2` is its per-frame baseline.
        miou: in percent.
        note: what the paper says about the method.
    """

    method: str
    miou: float
    note: str = ""


@dataclass(frozen=True)
class PaperScores:
    """Table 3 or 4: where it was measured, and its rows.

    Attributes:
        number: of the table.
        split: that the paper scored.
        size: of the frames of the paper's own rows, (H, W) in pixels.
        rows: in the paper's order.
    """

    number: int
    split: str
    size: tuple[int, int]
    rows: tuple[PaperScore, ...]


@dataclass(frozen=True)
class PaperRuntime:
    """A row of Table 5.

    Attributes:
        method: as the paper names it.
        device: a GPU; empty where the paper gives none.
        size: of a frame, (H, W) in pixels.
        parameters: in millions, of the whole network.
        at_least: `parameters` is a lower bound.
        milliseconds: a frame; for cells an average over a clip whose length the paper does not state.
        std: of `milliseconds`, where given.
        kind: whether `milliseconds` is that of a static frame or an average.
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
"""Tables 3 and 4 by data set."""

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
"""Table 5."""
