"""What all figures share: resolution, grid, names that come from files, and how a figure reaches the disk."""

from pathlib import Path
from typing import Any

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vseg_nas.files import replacing

DPI = 150
GRID = "#E4E4E4"
LONGEST_NAME = 56  # characters of a name in a figure
DASHES: tuple[Any, ...] = ("-", "--", "-.", (0, (1, 1.2)), (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)))


def style_axes(axes: Any) -> None:
    """A pale grid behind the data and no frame at the top and on the right."""
    axes.grid(True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def count_candidates(axes: Any, candidates: int) -> None:
    """Makes x the 0-based number of a candidate, in whole numbers."""
    axes.set_xlim(-0.5, max(candidates, 2) - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def plain(name: str) -> str:
    """A name from a file as one short line that Matplotlib takes neither for mathematics nor for hidden."""
    line = " ".join(name.split()).replace("$", r"\$")
    short = line if len(line) <= LONGEST_NAME else f"{line[: LONGEST_NAME - 1].rstrip(chr(92))}…"
    return f" {short}" if short.startswith("_") else short


def save_figure(figure: Figure, path: Path, dpi: int = DPI) -> Path:
    """Writes a figure, the same bytes for the same figure; the suffix of `path` picks the format.

    Returns:
        `path`, replaced whole.
    """
    metadata = {"Date": None} if path.suffix == ".svg" else None
    with replacing(path) as partial, matplotlib.rc_context({"svg.hashsalt": "vseg_nas"}):
        figure.savefig(partial, dpi=dpi, metadata=metadata)
    return path


def save_png_and_svg(figure: Figure, stem: Path) -> list[Path]:
    """Writes `stem`.png and `stem`.svg and returns their paths; `stem` may hold dots."""
    png = save_figure(figure, stem.with_name(f"{stem.name}.png"))
    figure.set_layout_engine("none")  # everything has its place by now
    return [png, save_figure(figure, stem.with_name(f"{stem.name}.svg"))]
