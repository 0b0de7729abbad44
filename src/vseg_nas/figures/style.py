"""The style of all figures: colours, dashes, grid and names; and how a figure is written to a file.

The colours are those of Okabe and Ito, which colour-blind readers can tell apart; the purple is Tol's, dark enough for
lines.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from vseg_nas.results.methods import Method
from vseg_nas.runs.files import replacing

ORANGE = "#E69F00"
SKY = "#56B4E9"
GREEN = "#009E73"
BLUE = "#0072B2"
VERMILLION = "#D55E00"
PURPLE = "#AA3377"
GREY = "#6B6B6B"
PALE = "#C4C4C4"

# One for each entry of the largest vocabulary.
SERIES = (BLUE, ORANGE, GREEN, PURPLE, SKY, "#000000", VERMILLION, "#8C6D31")
DPI = 150
GRID = "#E4E4E4"
LONGEST_NAME = 56  # characters of a name in a figure
DASHES: tuple[Any, ...] = (
    "-", "--", "-.", (0, (1, 1.2)), (0, (5, 1, 1, 1, 1, 1)), (0, (8, 2)), (0, (3, 3)), (0, (6, 1, 1, 1))
)  # fmt: skip


def style_axes(axes: Any) -> None:
    """Draws a pale grid behind the data, and removes the frame at the top and on the right."""
    axes.grid(True, color=GRID, linewidth=0.7)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)


def count_candidates(axes: Any, candidates: int) -> None:
    """Makes the x axis the number of a candidate, from 0, with ticks at whole numbers."""
    axes.set_xlim(-0.5, max(candidates, 2) - 0.5)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True, steps=[1, 2, 5, 10]))


def plain(name: str) -> str:
    """Returns a name as one short line that Matplotlib takes neither for mathematics nor for a hidden label."""
    line = " ".join(name.split()).replace("$", r"\$")
    short = line if len(line) <= LONGEST_NAME else f"{line[: LONGEST_NAME - 1].rstrip(chr(92))}…"
    return f" {short}" if short.startswith("_") else short


def save_figure(figure: Figure, path: Path, dpi: int = DPI) -> Path:
    """Writes a figure; equal figures give equal bytes, and the suffix of ``path`` selects the format.

    Returns:
        `path`, replaced whole.
    """
    metadata = {"Date": None} if path.suffix == ".svg" else None
    with replacing(path) as partial, matplotlib.rc_context({"svg.hashsalt": "vseg_nas"}):
        figure.savefig(partial, dpi=dpi, metadata=metadata)
    return path


def save_png_and_svg(figure: Figure, stem: Path) -> list[Path]:
    """Writes ``stem.png`` and ``stem.svg`` and returns their paths; ``stem`` may contain dots."""
    png = save_figure(figure, stem.with_name(f"{stem.name}.png"))
    figure.set_layout_engine("none")  # the layout is computed by now
    return [png, save_figure(figure, stem.with_name(f"{stem.name}.svg"))]


METHOD_COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, SKY, ORANGE)
METHOD_MARKERS = ("s", "D", "^", "v", "P", "X", "*", "h")
METHOD_DASHES: tuple[Any, ...] = ("--", (0, (1, 1.2)), "-.", (0, (5, 1, 1, 1, 1, 1)))
TUNED_DASHES: tuple[Any, ...] = ((0, (6, 1.5)), (0, (2, 1.5)))


class Style(NamedTuple):
    """Colour, dashes and marker of a method."""

    colour: str
    dash: Any
    marker: str


def method_styles(found: Sequence[Method]) -> dict[str, Style]:
    """Returns the style of each method by label: static networks are black, cells coloured, everything else grey."""
    cells = [method.label for method in found if method.cell]
    styles = {method.label: Style("#000000", "-", "o") for method in found if method.is_static}
    tuned = [method.label for method in found if method.is_tuned_static]
    for i, name in enumerate(tuned):
        styles[name] = Style("#000000", TUNED_DASHES[i % len(TUNED_DASHES)], "<>"[i % 2])
    others = [method.label for method in found if not method.cell and method.label not in styles]
    for i, name in enumerate(others):
        styles[name] = Style(GREY, METHOD_DASHES[i % len(METHOD_DASHES)], METHOD_MARKERS[-1 - i % len(METHOD_MARKERS)])
    for i, name in enumerate(cells):
        styles[name] = Style(METHOD_COLOURS[i % len(METHOD_COLOURS)], "-", METHOD_MARKERS[i % len(METHOD_MARKERS)])
    return styles
