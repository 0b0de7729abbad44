"""Draws score against cost with the Pareto front: methods against time and size, candidates against size."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from vseg_nas.figures.search_curves import DOTS
from vseg_nas.figures.style import GREY, PURPLE, Style, method_styles, plain, style_axes
from vseg_nas.nas.history import Outcome, Scored, outcome, scored
from vseg_nas.nas.trial import Trial
from vseg_nas.results.evaluation_result import SHOWN_KEY
from vseg_nas.results.methods import Method, frame_size, measured_row
from vseg_nas.results.numbers import Number, percent, quantity
from vseg_nas.results.runtime import BenchmarkResult
from vseg_nas.results.scores import Quartiles


def pareto_front(points: Sequence[tuple[float, float]]) -> list[int]:
    """Returns the indices of the points that no other one dominates, by ascending cost.

    A point dominates another if it costs no more and scores no less, and is better in one of the two; of equal
    points none dominates the other.

    Args:
        points: (cost, score); less cost and more score are better.
    """
    front: list[int] = []
    for index in sorted(range(len(points)), key=lambda i: (points[i][0], -points[i][1])):
        cost, score = points[index]
        if not front or score > points[front[-1]][1] or (cost, score) == points[front[-1]]:
            front.append(index)
    return front


@dataclass(frozen=True)
class ParetoPoint:
    """A method in the plane of cost and score; spreads are None if there is only one measurement."""

    name: str
    cost: float
    cost_range: tuple[float, float] | None
    score: Number


def plottable(found: Sequence[Method]) -> list[Method]:
    """Returns the methods with a time and a size of their own: static networks, also fine-tuned ones, and cells."""
    return [method for method in found if method.is_static or method.is_tuned_static or method.cell]


def is_rolled(found: Sequence[Method]) -> bool:
    """Returns whether all plottable methods were scored by rolling; otherwise only their pairs can be compared."""
    return all(SHOWN_KEY in row.rolling for method in plottable(found) for row in method.rows)


def latency_points(found: Sequence[Method], benchmark: BenchmarkResult) -> list[ParetoPoint]:
    """Returns score against time per frame: of rolling, averaged over as many frames, or of second frames of pairs.

    Networks are matched with measurements by their cell, however it is named, and what it is given; the static
    network, also as fine-tuned, by having none. Those that were not measured are left out.
    """
    rolled = is_rolled(found)
    timed = [(method, _time(method, benchmark, rolled)) for method in plottable(found)]
    return [ParetoPoint(m.label, t.median, (t.low, t.high), _score(m, rolled)) for m, t in timed if t is not None]


def _time(method: Method, benchmark: BenchmarkResult, rolled: bool) -> Quartiles | None:
    row = measured_row(method, benchmark)
    if row is None:
        return None
    if row.cell is None:
        return row.static_ms
    return row.average(SHOWN_KEY) if rolled else row.dynamic_ms


def parameter_points(found: Sequence[Method]) -> list[ParetoPoint]:
    """Returns the score, as in `latency_points`, against the parameters of the whole network."""
    rolled = is_rolled(found)
    return [ParetoPoint(m.label, m.rows[0].parameters, None, _score(m, rolled)) for m in plottable(found)]


def _score(method: Method, rolled: bool) -> Number:
    return percent([row.rolling[SHOWN_KEY].score if rolled else row.pair.score for row in method.rows])


def draw_method_trade_off(found: Sequence[Method], benchmarks: Sequence[BenchmarkResult]) -> Figure:
    """Draws score against time on each device, and against parameters; the Pareto front is filled and joined.

    Args:
        found: The methods of one setting.
        benchmarks: Latency measurements; those without any of these methods are left out.
    """
    rolled = is_rolled(found)
    time = f"ms a frame, mean of {SHOWN_KEY}," if rolled else "ms a frame that is no key frame,"
    panels = [
        (points, f"{time}\n{frame_size(benchmark.size)}, {plain(benchmark.device)}")
        for benchmark in benchmarks
        if (points := latency_points(found, benchmark))
    ]
    panels.append((parameter_points(found), "parameters of the whole network"))
    styles = method_styles(found)
    figure = Figure(figsize=(4.2 * len(panels) + 0.6, 4.4), layout="constrained")
    for axes, (points, text) in zip(
        figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True
    ):
        _draw_points(axes, points, styles)
        axes.set_xlabel(text)
        style_axes(axes)
    figure.axes[-1].xaxis.set_major_formatter(FuncFormatter(lambda value, _: quantity(round(value))))
    figure.axes[0].set_ylabel(f"score, %, a key frame every {SHOWN_KEY} frames" if rolled else "score, %, of pairs")
    legends = [axes.get_legend_handles_labels() for axes in figure.axes]
    handles = {text: handle for found_in in legends for handle, text in zip(*found_in, strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _draw_points(axes: Any, points: Sequence[ParetoPoint], styles: Mapping[str, Style]) -> None:
    front = pareto_front([(point.cost, point.score.value) for point in points])
    joined = [points[i] for i in front]
    costs, scores = [point.cost for point in joined], [point.score.value for point in joined]
    axes.plot(costs, scores, color=GREY, linewidth=1.2, linestyle=":", label="Pareto front (filled)", zorder=1)
    for i, point in enumerate(points):
        colour, _, marker = styles[point.name]
        low, high = point.cost_range or (point.cost, point.cost)
        axes.errorbar(
            point.cost,
            point.score.value,
            xerr=[[max(0.0, point.cost - low)], [max(0.0, high - point.cost)]],
            yerr=point.score.std,
            color=colour,
            marker=marker,
            markersize=9,
            markerfacecolor=colour if i in front else "white",
            elinewidth=1.1,
            capsize=2.5,
            linestyle="none",
            label=plain(point.name),
        )
    axes.margins(0.12)


COSTS = (("parameters", "parameters of the cell"), ("macs", "multiply-accumulate operations of the cell, a frame"))


def draw_search_trade_off(trials: Sequence[Trial], evaluated: Collection[str] = ()) -> Figure:
    """Draws the score on meta-val against parameters and against MACs of the cell.

    The Pareto front of the complete candidates is joined. Candidates that were stopped half-way have scores
    from half the training, so they are shown but are not part of the front. Reused scores are shown once.

    Args:
        trials: The trials in any order; at least one of them is complete.
        evaluated: The canonical keys of cells to mark with a ring.
    """
    cells = scored(trials)
    figure = Figure(figsize=(11, 4.8), layout="constrained")
    for axes, (cost, text) in zip(figure.subplots(1, 2, sharey=True), COSTS, strict=True):
        _draw_candidates(axes, cells, cost)
        ringed = [cell for cell in cells if cell.trial.genotype.key in evaluated]
        if ringed:
            ring = {"s": 130, "facecolor": "none", "edgecolor": PURPLE, "linewidth": 1.8}
            axes.scatter(*_points(ringed, cost), label="evaluated on labelled frames", zorder=4, **ring)
        axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: quantity(round(value))))
        axes.set_xlabel(text)
        style_axes(axes)
    figure.axes[0].set_ylabel("score on meta-val")
    handles, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside lower center", ncols=4, frameon=False)
    return figure


def _draw_candidates(axes: Any, cells: Sequence[Scored], cost: str) -> None:
    for kind in (Outcome.STOPPED, Outcome.COMPLETE):
        of_kind = [cell for cell in cells if outcome(cell.trial) == kind]
        if of_kind:
            axes.scatter(*_points(of_kind, cost), label=f"{kind} ({len(of_kind)})", zorder=2, **DOTS[kind])
    complete = [cell for cell in cells if outcome(cell.trial) == Outcome.COMPLETE]
    costs, scores = _points(complete, cost)
    front = pareto_front(list(zip(costs, scores, strict=True)))
    joined = [costs[i] for i in front], [scores[i] for i in front]
    axes.plot(*joined, color="black", linewidth=1.6, marker="o", markersize=4.5, label="Pareto front", zorder=3)


def _points(cells: Sequence[Scored], cost: str) -> tuple[list[float], list[float]]:
    return [getattr(cell.evaluation, cost) for cell in cells], [cell.evaluation.score for cell in cells]
