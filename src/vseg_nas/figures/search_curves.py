"""The course of searches as pictures: rewards (Figure 3), of one search or of several, and token shares (Figure 4)."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from vseg_nas.figures.style import (
    BLUE,
    DASHES,
    GREEN,
    GREY,
    ORANGE,
    SERIES,
    VERMILLION,
    count_candidates,
    plain,
    style_axes,
)
from vseg_nas.nas.history import (
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
from vseg_nas.nas.trial import Trial
from vseg_nas.results.names import label

DOTS: dict[Outcome, dict[str, Any]] = {
    Outcome.COMPLETE: {"marker": "o", "s": 22, "facecolor": BLUE, "edgecolor": "none", "alpha": 0.55},
    Outcome.STOPPED: {"marker": "v", "s": 26, "facecolor": "none", "edgecolor": ORANGE, "linewidth": 1.2},
    Outcome.REUSED: {"marker": "D", "s": 20, "facecolor": "none", "edgecolor": GREY, "linewidth": 1.0},
}


def draw_reward_curve(trials: Iterable[Trial], title: str | None = None) -> Figure:
    """Draws each candidate's score, the running mean and the best so far; failures are ticks at the bottom.

    Args:
        trials: The trials in any order; those that have not ended are left out.
        title: The title of the picture.
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


def draw_token_shares(trials: Iterable[Trial]) -> Figure:
    """Draws how often the strategy chose each operation, aggregation and input, over a moving window.

    Failed and reused candidates count, since they were sampled like any other. Dotted: cells sampled uniformly.

    Args:
        trials: The trials in any order, of which at least one has ended; the others are left out.
    """
    history = ended(trials)
    window = window_for(len(history))
    cells = [trial.genotype for trial in history]
    ends = range(min(window // 2, len(cells)), len(cells) + 1)  # shares of one or two cells say nothing
    shares = [token_shares(cells[max(0, end - window) : end]) for end in ends]
    ids = [history[end - 1].id for end in ends]
    vocabulary = cells[0].vocabulary
    uniform = uniform_shares(len(cells[0].layers), vocabulary)
    panels = (
        ("Operations", "operations", vocabulary.operations),
        ("Aggregations", "aggregations", vocabulary.aggregations),
        ("Inputs", "inputs", (*vocabulary.inputs, "earlier layer")),
    )
    figure = Figure(figsize=(13.5, 5.2), layout="constrained")
    for axes, (title, field, names) in zip(figure.subplots(1, 3, sharey=True), panels, strict=True):
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
    for i, level in enumerate(sorted({round(share, 9) for share in getattr(uniform, field)})):
        caption = None if i else "drawn uniformly"
        axes.axhline(level, color=GREY, linewidth=0.9, linestyle=":", zorder=1, label=caption)


@dataclass(frozen=True)
class Band:
    """The running means of some searches by candidate.

    Attributes:
        candidates: The numbers of the candidates, from 0, at which every search has a running mean.
        mean: The mean over the searches.
        low: The lowest of the searches.
        high: The highest of the searches.
        searches: The number of searches.
    """

    candidates: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    searches: int


def draw_reward_bands(groups: Mapping[str, Sequence[Sequence[Trial]]]) -> Figure:
    """Draws the mean over the seeds of each group, with a band from the lowest to the highest seed.

    Each search enters as the running mean of its scores. A group ends where its shortest search ends.

    Args:
        groups: The trials of each search of a group, by the name of the group; at least one candidate has a score.
    """
    window = window_for(max(len(ended(trials)) for searches in groups.values() for trials in searches))
    bands = {name: reward_band(searches, window) for name, searches in groups.items()}
    figure = Figure(figsize=(9, 4.8), layout="constrained")
    axes = figure.add_subplot()
    for i, (name, band) in enumerate(bands.items()):
        colour, dash = SERIES[i % len(SERIES)], DASHES[i % len(DASHES)]
        text = f"{plain(name)} ({band.searches} seed{'s' if band.searches > 1 else ''})"
        axes.fill_between(band.candidates, band.low, band.high, color=colour, alpha=0.18, linewidth=0)
        axes.plot(band.candidates, band.mean, color=colour, linestyle=dash, linewidth=2.1, label=text)
    if any(band.searches > 1 for band in bands.values()):
        axes.fill_between([], [], [], color=GREY, alpha=0.25, linewidth=0, label="least to greatest seed")
    axes.set(xlabel="candidate", ylabel=f"score on meta-val, mean of last {window}")
    style_axes(axes)
    count_candidates(axes, max(band.candidates[-1] + 1 for band in bands.values()))
    figure.legend(loc="outside lower center", ncols=2, frameon=False, handlelength=3.2)
    return figure


def reward_band(searches: Sequence[Sequence[Trial]], window: int) -> Band:
    """Returns the mean, lowest and highest of the running means of the scores of some searches.

    A failed candidate has no score, so the running mean stays the same there.

    Args:
        searches: The trials of each search; at least one search.
        window: The number of scored candidates that the running mean covers.
    """
    curves = [_curve(trials, window) for trials in searches]
    length = min(map(len, curves))
    steps = [[curve[i] for curve in curves] for i in range(length)]
    known = [(i, [v for v in values if v is not None]) for i, values in enumerate(steps) if None not in values]
    return Band(
        candidates=tuple(i for i, _ in known),
        mean=tuple(fmean(values) for _, values in known),
        low=tuple(min(values) for _, values in known),
        high=tuple(max(values) for _, values in known),
        searches=len(searches),
    )


def _curve(trials: Sequence[Trial], window: int) -> list[float | None]:
    """Returns the running mean at every ended candidate; None before the first score."""
    history = ended(trials)
    means = iter(running_mean([t.evaluation.reward for t in history if t.evaluation is not None], window))
    curve: list[float | None] = []
    for trial in history:
        curve.append(next(means) if trial.evaluation is not None else (curve[-1] if curve else None))
    return curve
