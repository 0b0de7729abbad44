"""Draws mIoU against the distance from the key frame, and its difference from the static network."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from itertools import pairwise
from statistics import fmean
from typing import Any, NamedTuple

from matplotlib.figure import Figure

from vseg_nas.figures.style import Style, method_styles, plain, style_axes
from vseg_nas.results.evaluation_result import SHOWN_KEY, rolling_key
from vseg_nas.results.methods import Method

PROTOCOLS = ((SHOWN_KEY, f"a key frame every {SHOWN_KEY} frames"), (rolling_key(None), "one key frame at the start"))

SINGLE = 8  # the evaluation groups larger distances


class Point(NamedTuple):
    """mIoU in percent at one distance from the key frame: the mean, lowest and highest of the trainings."""

    distance: int
    mean: float
    low: float
    high: float


def rolling_curve(method: Method, every: str) -> list[Point]:
    """Returns the curve of a method by ascending distance, without distances at which a training has no frames."""
    values: dict[int, list[float]] = defaultdict(list)
    for row in method.rows:
        for at in row.rolling[every].by_distance if every in row.rolling else ():
            if at.miou is not None:
                values[at.distance].append(100 * at.miou)
    complete = sorted(distance for distance, known in values.items() if len(known) == len(method.rows))
    return [Point(d, fmean(values[d]), min(values[d]), max(values[d])) for d in complete]


def curve_difference(curve: Sequence[Point], baseline: Sequence[Point]) -> list[Point]:
    """Returns a curve minus the mean of a baseline, at the distances that both have."""
    base = {point.distance: point.mean for point in baseline}
    return [Point(d, mean - base[d], low - base[d], high - base[d]) for d, mean, low, high in curve if d in base]


def baseline_of(cell: Method, found: Sequence[Method]) -> Method | None:
    """Returns the static network that a cell has to beat: fine-tuned by the same recipe, otherwise as pre-trained."""
    tuned = [method for method in found if method.is_tuned_static and method.recipe == cell.recipe]
    return next(iter(tuned + [method for method in found if method.is_static]), None)


def draw_rolling_curves(found: Sequence[Method]) -> Figure:
    """Draws mIoU by distance from the key frame, and below it by how much each cell differs from its baseline.

    The lower row is drawn only if a static network was scored as well. Bands reach from the lowest to the highest
    training of a method.

    Args:
        found: The methods of one setting.
    """
    pairs = [(cell, base) for cell in found if cell.cell and (base := baseline_of(cell, found))]
    rows = 2 if any(rolling_curve(base, every) for _, base in pairs for every, _ in PROTOCOLS) else 1
    figure = Figure(figsize=(11, 3.4 * rows + 1.2), layout="constrained")
    grid = figure.subplots(rows, len(PROTOCOLS), squeeze=False, width_ratios=(1, 2))
    styles = method_styles(found)
    for column, (every, title) in zip(grid.T, PROTOCOLS, strict=True):
        _draw(column[0], {method.label: rolling_curve(method, every) for method in found}, styles)
        column[0].set_title(title)
        if rows > 1:
            curves = {
                cell.label: curve_difference(rolling_curve(cell, every), rolling_curve(base, every))
                for cell, base in pairs
            }
            _draw(column[1], curves, styles)
            column[1].axhline(0, color="black", linewidth=1.2)
        column[-1].set_xlabel("frames since the key frame")
    tuned = "fine-tuned " if all(base.is_tuned_static for _, base in pairs) else ""
    for axes, text in zip(grid[:, 0], ("mIoU, %", f"cell less {tuned}static\nnetwork, points"), strict=False):
        axes.set_ylabel(text)
    handles, labels = grid[0, 0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=3, frameon=False, handlelength=3.2)
    return figure


def _draw(axes: Any, curves: Mapping[str, Sequence[Point]], styles: Mapping[str, Style]) -> None:
    """Draws curves over the distances that any of them has, at equal steps."""
    distances = sorted({point.distance for curve in curves.values() for point in curve})
    for name, curve in curves.items():
        colour, dash, marker = styles[name]
        line = {"color": colour, "linestyle": dash, "linewidth": 1.7, "label": plain(name)}
        xs = [distances.index(point.distance) for point in curve]
        low, high = [point.low for point in curve], [point.high for point in curve]
        axes.fill_between(xs, low, high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(xs, [point.mean for point in curve], marker=marker, markersize=5.5, **line)
    style_axes(axes)
    axes.set_xticks(range(len(distances)), distance_labels(distances))


def distance_labels(distances: Sequence[int]) -> list[str]:
    """Returns labels of ascending distances, such as 8, 9–16 and 33+; the later ones stand for several distances."""
    labels = [str(a) if b == a + 1 else f"{a}\N{EN DASH}{b - 1}" for a, b in pairwise(distances)]
    return [*labels, *(f"{last}+" if last > SINGLE else str(last) for last in distances[-1:])]
