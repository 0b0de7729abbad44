"""The course of a search as pictures: rewards (Figure 3) and token shares (Figure 4)."""

from collections.abc import Iterable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from vseg_nas.nas.trial import Trial
from vseg_nas.reporting.history import (
    Outcome,
    TokenShares,
    ended,
    outcome,
    running_mean,
    scored,
    token_shares,
    uniform_shares,
    window_for,
)
from vseg_nas.reporting.palette import BLUE, GREEN, GREY, ORANGE, SERIES, VERMILLION, label
from vseg_nas.reporting.plotting import DASHES, count_candidates, save_figure, style_axes
from vseg_nas.space.vocabulary import AGGREGATIONS, INPUTS, OPERATIONS

DOTS: dict[Outcome, dict[str, Any]] = {
    Outcome.COMPLETE: {"marker": "o", "s": 22, "facecolor": BLUE, "edgecolor": "none", "alpha": 0.55},
    Outcome.STOPPED: {"marker": "v", "s": 26, "facecolor": "none", "edgecolor": ORANGE, "linewidth": 1.2},
    Outcome.REUSED: {"marker": "D", "s": 20, "facecolor": "none", "edgecolor": GREY, "linewidth": 1.0},
}
PANELS = (
    ("Operations", "operations", OPERATIONS),
    ("Aggregations", "aggregations", AGGREGATIONS),
    ("Inputs", "inputs", (*INPUTS, "earlier layer")),
)


def save_reward_curve(trials: Iterable[Trial], path: Path, title: str | None = None) -> Path:
    """Writes `draw_reward_curve` to `path`, replaced whole; its suffix picks the format. Returns `path`."""
    return save_figure(draw_reward_curve(trials, title), path)


def draw_reward_curve(trials: Iterable[Trial], title: str | None = None) -> Figure:
    """Draws each candidate's score, the running mean and the best so far; failures are ticks at the bottom.

    Args:
        trials: In any order; those that have not ended are left out.
        title: A line above the picture.
    """
    history = ended(trials)
    figure = Figure(figsize=(9, 5), layout="constrained")
    axes = figure.add_subplot()
    for kind, style in DOTS.items():
        dots = [cell for cell in scored(history) if outcome(cell.trial) == kind]
        if dots:
            ids, scores = [cell.trial.id for cell in dots], [cell.evaluation.score for cell in dots]
            axes.scatter(ids, scores, label=f"{kind} ({len(dots)})", zorder=2, **style)
    _draw_trends(axes, history)
    failed = [trial.id for trial in history if trial.evaluation is None]
    if failed:
        bottom = axes.get_xaxis_transform()
        style = {
            "color": VERMILLION,
            "marker": "|",
            "markersize": 11,
            "markeredgewidth": 1.8,
            "linestyle": "none",
        }
        axes.plot(failed, [0.025] * len(failed), label=f"failed ({len(failed)})", transform=bottom, **style)
    axes.set(xlabel="candidate", ylabel="score on meta-val", title=title)
    style_axes(axes)
    count_candidates(axes, len(history))
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), frameon=False)
    return figure


def _draw_trends(axes: Any, history: Sequence[Trial]) -> None:
    cells = scored(history)
    if not cells:
        return
    ids, scores = [cell.trial.id for cell in cells], [cell.evaluation.score for cell in cells]
    window = window_for(len(history))
    mean = running_mean(scores, window)
    axes.plot(ids, mean, color="black", linewidth=2.2, label=f"mean of last {window}", zorder=4)
    best = list(accumulate(scores, max))
    axes.step(ids, best, where="post", color=GREEN, linewidth=1.8, linestyle="--", label="best so far", zorder=3)
    top = best.index(best[-1])
    axes.annotate(
        f"{best[-1]:.4f}, trial {ids[top]}",
        (ids[top], best[-1]),
        xytext=(0, 7),
        textcoords="offset points",
        ha="left" if top < len(ids) / 2 else "right",
        color=GREEN,
    )
    axes.margins(y=0.1)


def save_token_shares(trials: Iterable[Trial], path: Path) -> Path:
    """Writes `draw_token_shares` to `path`, replaced whole; its suffix picks the format. Returns `path`."""
    return save_figure(draw_token_shares(trials), path)


def draw_token_shares(trials: Iterable[Trial]) -> Figure:
    """Draws how often the strategy chose each operation, aggregation and input, over a moving window.

    Failed and reused candidates count: they were chosen like any other. Dotted: cells drawn uniformly.

    Args:
        trials: In any order, at least one of them ended; the others are left out.
    """
    history = ended(trials)
    window = window_for(len(history))
    cells = [trial.genotype for trial in history]
    ends = range(min(window // 2, len(cells)), len(cells) + 1)  # shares of one or two cells say nothing
    shares = [token_shares(cells[max(0, end - window) : end]) for end in ends]
    ids = [history[end - 1].id for end in ends]
    uniform = uniform_shares(len(cells[0].layers))
    figure = Figure(figsize=(13.5, 5.2), layout="constrained")
    for axes, (title, field, names) in zip(figure.subplots(1, 3, sharey=True), PANELS, strict=True):
        _draw_shares(axes, ids, shares, uniform, field, names)
        axes.set(title=title, xlabel="candidate")
        style_axes(axes)
        count_candidates(axes, len(history))
        axes.yaxis.set_major_formatter(PercentFormatter(1.0, decimals=0))
        axes.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, frameon=False, handlelength=3.2)
    figure.axes[0].set_ylim(bottom=0.0)
    figure.axes[0].set_ylabel(f"share of the tokens of the last {window} candidates")
    return figure


def _draw_shares(
    axes: Any,
    ids: Sequence[int],
    shares: Sequence[TokenShares],
    uniform: TokenShares,
    field: str,
    names: Sequence[str],
) -> None:
    for i, name in enumerate(names):
        line = [getattr(share, field)[i] for share in shares]
        axes.plot(ids, line, color=SERIES[i], linestyle=DASHES[i], linewidth=1.9, label=label(name), zorder=2)
    for i, level in enumerate(sorted(set(getattr(uniform, field)))):
        caption = None if i else "drawn uniformly"
        axes.axhline(level, color=GREY, linewidth=0.9, linestyle=":", zorder=1, label=caption)
