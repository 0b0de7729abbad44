"""Draws a cell as in Figure 7: orange operations, green aggregations, with names instead of numbers."""

from collections.abc import Collection, Sequence
from itertools import groupby
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch, Patch, PathPatch
from matplotlib.path import Path as Outline

from vseg_nas.figures.cell_layout import Box, CellLayout, Wire, cell_layout
from vseg_nas.figures.style import BLUE, GREEN, GREY, ORANGE, PALE, PURPLE, save_figure
from vseg_nas.space import Genotype

MARGIN = 0.18
TITLE_ROOM = 0.34
LEGEND_ROOM = 0.36
DPI = 160
BEND = 0.55  # how far a wire is level before it turns, as a share of its length
STROKE = 1.5
HALO = 4.5  # width of the white rim, which shows which of two crossing wires passes over the other
LAYER_INK = "#333333"
FILLS = {"operation": "#FBD58A", "aggregation": "#93D8C2", "output": "#FFFFFF"}
EDGES = {"operation": ORANGE, "aggregation": GREEN, "output": LAYER_INK}


def save_cell_drawing(genotype: Genotype, path: Path, title: str | None = None) -> Path:
    """Writes the drawing of a cell; the suffix of ``path`` (.svg, .pdf, .png) selects the format.

    Args:
        genotype: The cell to draw.
        path: The file to write; it is replaced whole.
        title: The title of the drawing.

    Returns:
        `path`.
    """
    return save_figure(draw_genotype(genotype, title), path, DPI)


def draw_genotype(genotype: Genotype, title: str | None = None) -> Figure:
    """Draws a cell as a figure."""
    return draw_cell(cell_layout(genotype), genotype.reads, title)


def draw_cell(layout: CellLayout, reads: Collection[int], title: str | None = None) -> Figure:
    """Draws a layout; one unit is one inch, so that font sizes are true to scale.

    Args:
        layout: The layout of the cell.
        reads: The pool ids of the inputs that the cell reads; the others are drawn in grey.
        title: The title of the drawing.
    """
    top = MARGIN + (TITLE_ROOM if title else 0.0)
    width, height = layout.width + 2 * MARGIN, layout.height + top + MARGIN + LEGEND_ROOM
    figure = Figure(figsize=(width, height))
    axes = figure.add_axes((0, 0, 1, 1))
    axes.set(xlim=(-MARGIN, width - MARGIN), ylim=(height - top, -top))
    axes.set_axis_off()
    if title:
        axes.text(0, -TITLE_ROOM, title, fontsize=10.5, va="center", weight="bold")
    for _, wires in groupby(sorted(layout.wires), key=lambda wire: wire.pool_id):
        _draw_wires(axes, list(wires), layout.inputs)
    for box in layout.boxes:
        _draw_box(axes, box, layout.inputs, read=box.kind != "input" or box.pool_id in reads)
    for caption in layout.captions:
        axes.text(caption.x, caption.y, caption.text, fontsize=8.5, weight="bold", color=GREY, va="baseline")
    _draw_legend(figure)
    return figure


def _ink(source: int, inputs: Sequence[str]) -> str:
    """Returns the colour of the source of a wire: of the past, of the current frame, or a layer of this cell."""
    if not 0 <= source < len(inputs):
        return LAYER_INK
    return BLUE if inputs[source].startswith("layer") else PURPLE


def _outline(wire: Wire) -> Outline:
    bend = BEND * (wire.x1 - wire.x0)
    points = [(wire.x0, wire.y0), (wire.x0 + bend, wire.y0), (wire.x1 - bend, wire.y1), (wire.x1, wire.y1)]
    return Outline(points, [Outline.MOVETO, Outline.CURVE4, Outline.CURVE4, Outline.CURVE4])


def _draw_wires(axes: Any, wires: list[Wire], inputs: Sequence[str]) -> None:
    """Draws all halos of a source before its wires, so that no halo cuts a wire where they fork."""
    style = {"facecolor": "none", "capstyle": "butt"}
    for wire in wires:
        axes.add_patch(PathPatch(_outline(wire), edgecolor="white", linewidth=HALO, **style))
    for wire in wires:
        ink = _ink(wire.pool_id, inputs)
        axes.add_patch(PathPatch(_outline(wire), edgecolor=ink, linewidth=STROKE, **style))
        if wire.arrow:
            tip = [(wire.x1, wire.y1), (wire.x1 - 0.09, wire.y1 - 0.045), (wire.x1 - 0.09, wire.y1 + 0.045)]
            axes.add_patch(PathPatch(Outline([*tip, tip[0]], closed=True), facecolor=ink, edgecolor=ink, linewidth=0.5))


def _draw_box(axes: Any, box: Box, inputs: Sequence[str], read: bool) -> None:
    if box.kind == "input":
        fill, edge = "#FFFFFF", _ink(box.pool_id, inputs) if read else PALE
    else:
        fill, edge = FILLS[box.kind], EDGES[box.kind]
    corner = (box.x - box.width / 2, box.y - box.height / 2)
    style = "round,pad=0,rounding_size=0.06"
    patch = FancyBboxPatch(corner, box.width, box.height, boxstyle=style, facecolor=fill, edgecolor=edge, linewidth=1.4)
    axes.add_patch(patch)
    ink = "black" if read else "#9A9A9A"
    axes.text(box.x, box.y, box.text, fontsize=8.5, ha="center", va="center", color=ink, linespacing=1.05)


def _draw_legend(figure: Figure) -> None:
    entries = (
        ("operation", FILLS["operation"], ORANGE),
        ("aggregation (upper arrow: side 1)", FILLS["aggregation"], GREEN),
        ("previous frame", "#FFFFFF", PURPLE),
        ("current frame", "#FFFFFF", BLUE),
        ("not read", "#FFFFFF", PALE),
    )
    patches = [Patch(facecolor=fill, edgecolor=edge, linewidth=1.4, label=text) for text, fill, edge in entries]
    figure.legend(
        handles=patches,
        loc="lower left",
        ncols=len(entries),
        frameon=False,
        fontsize=7.5,
        handlelength=1.6,
        columnspacing=1.6,
        bbox_to_anchor=(MARGIN / figure.get_figwidth(), 0),
        borderpad=0.8,
        borderaxespad=0,
    )
