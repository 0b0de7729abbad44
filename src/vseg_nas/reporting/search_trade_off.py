"""The candidates of a search: score against size, with the Pareto front and the cells that were evaluated."""

from collections.abc import Collection, Sequence
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from vseg_nas.nas.trial import Trial
from vseg_nas.reporting.curves import DOTS
from vseg_nas.reporting.history import Outcome, Scored, outcome, scored
from vseg_nas.reporting.palette import PURPLE
from vseg_nas.reporting.pareto import pareto_front
from vseg_nas.reporting.plotting import style_axes
from vseg_nas.reporting.units import quantity

COSTS = (("parameters", "parameters of the cell"), ("macs", "multiply-accumulate operations of the cell, a frame"))


def draw_search_trade_off(trials: Sequence[Trial], evaluated: Collection[str] = ()) -> Figure:
    """Draws the score on meta-val against parameters and against MACs of the cell.

    Joined: the complete candidates that no other complete one beats in both. Those stopped half-way have scores
    from half the training, so they are shown and take no part in the front. Reused scores are shown once.

    Args:
        trials: in any order, at least one of them complete.
        evaluated: keys of cells to ring.
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
