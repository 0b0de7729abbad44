"""Figure 3: how the rewards of several searches grow, searches that differ in their seed as one curve with a band."""

from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure

from vseg_nas.nas.trial import Trial
from vseg_nas.reporting.history import ended, window_for
from vseg_nas.reporting.palette import GREY, SERIES
from vseg_nas.reporting.plotting import DASHES, count_candidates, plain, style_axes
from vseg_nas.reporting.search_groups import reward_band


def draw_reward_bands(groups: Mapping[str, Sequence[Sequence[Trial]]]) -> Figure:
    """Draws the mean over the seeds of each group; the band reaches from the least to the greatest of them.

    Each search enters as the running mean of its scores. A group ends where its shortest search ends.

    Args:
        groups: the trials of each search of a group, by the name of the group; some candidate has a score.
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
