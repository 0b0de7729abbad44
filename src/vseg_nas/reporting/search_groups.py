"""Several searches of the same configuration but for the seed, as one curve with a band (Figure 3)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from vseg_nas.nas.trial import Trial
from vseg_nas.reporting.history import ended, running_mean
from vseg_nas.reporting.palette import DATASETS

MEANINGLESS = (
    *("dataset.root", "debug", "gpu", "logger", "name", "phase.pretrain", "resume", "runs_dir", "seed"),
    *("phase.search.hours", "phase.search.trials"),
)
"""Keys, and groups of keys, in which searches of one group may differ."""


@dataclass(frozen=True)
class Band:
    """The running means of some searches, candidate by candidate.

    Attributes:
        candidates: 0-based; from the first that every search has a score by to the last that every search has ended.
        mean: over the searches.
        low: the least of them.
        high: the greatest of them.
        searches: how many.
    """

    candidates: tuple[int, ...]
    mean: tuple[float, ...]
    low: tuple[float, ...]
    high: tuple[float, ...]
    searches: int


def group_searches(configs: Sequence[Mapping[str, object]]) -> dict[str, list[int]]:
    """Indices of the searches that differ in nothing that matters, under a name that says how groups differ.

    The name is strategy and data set, and the keys whose values differ among groups with these two in common.
    """
    groups: dict[tuple[tuple[str, str], ...], list[int]] = defaultdict(list)
    for index, config in enumerate(configs):
        groups[tuple(sorted((key, str(value)) for key, value in config.items() if _matters(key)))].append(index)
    families: dict[str, list[dict[str, str]]] = defaultdict(list)
    for key in groups:
        families[_family(dict(key))].append(dict(key))
    return {_name(dict(key), families[_family(dict(key))]): indices for key, indices in groups.items()}


def _matters(key: str) -> bool:
    return not any(key == name or key.startswith(f"{name}.") for name in MEANINGLESS)


def _family(config: Mapping[str, str]) -> str:
    dataset = config["dataset.name"]
    return f"{config['strategy.name']} on {DATASETS.get(dataset, dataset)}"


def _name(config: Mapping[str, str], family: Sequence[Mapping[str, str]]) -> str:
    keys = sorted({key for other in family for key in other})
    differing = [key for key in keys if len({other.get(key) for other in family}) > 1]
    return ", ".join([_family(config), *(f"{key.rpartition('.')[2]} {config.get(key, '-')}" for key in differing)])


def reward_band(searches: Sequence[Sequence[Trial]], window: int) -> Band:
    """Mean, least and greatest of the running means of the scores of some searches.

    A failed candidate has no score: at its place the running mean stays what it was.

    Args:
        searches: their trials, at least one search.
        window: of the running mean, in candidates with a score.
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
    """The running mean at every ended candidate; None before the first score."""
    history = ended(trials)
    means = iter(running_mean([t.evaluation.score for t in history if t.evaluation is not None], window))
    curve: list[float | None] = []
    for trial in history:
        curve.append(next(means) if trial.evaluation is not None else (curve[-1] if curve else None))
    return curve
