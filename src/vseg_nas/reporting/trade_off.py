"""Score against cost: the methods of an evaluation against time and size, with the Pareto front."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.figure import Figure
from matplotlib.ticker import FuncFormatter

from vseg_nas.reporting.method_styles import Style, method_styles
from vseg_nas.reporting.methods import Method, frame_size
from vseg_nas.reporting.palette import GREY
from vseg_nas.reporting.pareto import pareto_front
from vseg_nas.reporting.plotting import plain, style_axes
from vseg_nas.reporting.rendering import Number
from vseg_nas.reporting.score_tables import measured_row, percent
from vseg_nas.reporting.units import quantity
from vseg_nas.results.benchmark import BenchmarkResult
from vseg_nas.results.evaluation import SHOWN_KEY
from vseg_nas.results.scores import Quartiles


@dataclass(frozen=True)
class Spot:
    """A method in the plane of cost and score; the spreads are None where there is one measurement."""

    name: str
    cost: float
    cost_range: tuple[float, float] | None
    score: Number


def drawn(found: Sequence[Method]) -> list[Method]:
    """The methods with a time and a size of their own: the static network, also as fine-tuned, and cells."""
    return [method for method in found if method.is_static or method.is_tuned_static or method.cell]


def is_rolled(found: Sequence[Method]) -> bool:
    """Whether all of them were scored by rolling; otherwise pairs are what can be compared."""
    return all(SHOWN_KEY in row.rolling for method in drawn(found) for row in method.rows)


def latency_spots(found: Sequence[Method], benchmark: BenchmarkResult) -> list[Spot]:
    """Score against time a frame: of rolling and on average over as many frames, or of the second frame of pairs.

    Networks are matched with measurements by their cell, however it is named, and what it is given; the static
    network, also as fine-tuned, by having none. Those that were not measured are left out.
    """
    rolled = is_rolled(found)
    timed = [(method, _time(method, benchmark, rolled)) for method in drawn(found)]
    return [Spot(m.label, t.median, (t.low, t.high), _score(m, rolled)) for m, t in timed if t is not None]


def _time(method: Method, benchmark: BenchmarkResult, rolled: bool) -> Quartiles | None:
    row = measured_row(method, benchmark)
    if row is None:
        return None
    if row.cell is None:
        return row.static_ms
    return row.average(SHOWN_KEY) if rolled else row.dynamic_ms


def parameter_spots(found: Sequence[Method]) -> list[Spot]:
    """Score, as for `latency_spots`, against the parameters of the whole network."""
    rolled = is_rolled(found)
    return [Spot(m.label, m.rows[0].parameters, None, _score(m, rolled)) for m in drawn(found)]


def _score(method: Method, rolled: bool) -> Number:
    return percent([row.rolling[SHOWN_KEY].score if rolled else row.pair.score for row in method.rows])


def draw_method_trade_off(found: Sequence[Method], benchmarks: Sequence[BenchmarkResult]) -> Figure:
    """Draws score against time on each device, and against parameters. Filled and joined: beaten by no other.

    Args:
        found: the methods of one setting.
        benchmarks: latency measurements; those of none of these methods are left out.
    """
    rolled = is_rolled(found)
    time = f"ms a frame, mean of {SHOWN_KEY}," if rolled else "ms a frame that is no key frame,"
    panels = [
        (spots, f"{time}\n{frame_size(benchmark.size)}, {plain(benchmark.device)}")
        for benchmark in benchmarks
        if (spots := latency_spots(found, benchmark))
    ]
    panels.append((parameter_spots(found), "parameters of the whole network"))
    styles = method_styles(found)
    figure = Figure(figsize=(4.2 * len(panels) + 0.6, 4.4), layout="constrained")
    for axes, (spots, text) in zip(figure.subplots(1, len(panels), sharey=True, squeeze=False)[0], panels, strict=True):
        _draw_spots(axes, spots, styles)
        axes.set_xlabel(text)
        style_axes(axes)
    figure.axes[-1].xaxis.set_major_formatter(FuncFormatter(lambda value, _: quantity(round(value))))
    figure.axes[0].set_ylabel(f"score, %, a key frame every {SHOWN_KEY} frames" if rolled else "score, %, of pairs")
    legends = [axes.get_legend_handles_labels() for axes in figure.axes]
    handles = {text: handle for found_in in legends for handle, text in zip(*found_in, strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=3, frameon=False)
    return figure


def _draw_spots(axes: Any, spots: Sequence[Spot], styles: Mapping[str, Style]) -> None:
    front = pareto_front([(spot.cost, spot.score.value) for spot in spots])
    joined = [spots[i] for i in front]
    costs, scores = [spot.cost for spot in joined], [spot.score.value for spot in joined]
    axes.plot(costs, scores, color=GREY, linewidth=1.2, linestyle=":", label="Pareto front (filled)", zorder=1)
    for i, spot in enumerate(spots):
        colour, _, marker = styles[spot.name]
        low, high = spot.cost_range or (spot.cost, spot.cost)
        axes.errorbar(
            spot.cost,
            spot.score.value,
            xerr=[[max(0.0, spot.cost - low)], [max(0.0, high - spot.cost)]],
            yerr=spot.score.std,
            color=colour,
            marker=marker,
            markersize=9,
            markerfacecolor=colour if i in front else "white",
            elinewidth=1.1,
            capsize=2.5,
            linestyle="none",
            label=plain(spot.name),
        )
    axes.margins(0.12)
