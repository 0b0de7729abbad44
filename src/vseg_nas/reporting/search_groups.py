"""Several searches of the same configuration but for the seed, as one curve with a band (Figure 3)."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from vseg_nas.nas.trial import Trial
from vseg_nas.reporting.history import ended, running_mean
from vseg_nas.reporting.palette import DATASETS
from vseg_nas.run_record import EXECUTION_KEYS, is_among

MEANINGLESS = (*EXECUTION_KEYS, "dataset.root", "gpu", "phase.pretrain", "phase.train", "seed")
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


@dataclass(frozen=True)
class SearchGroup:
    """Searches that differ in nothing that matters.

    Attributes:
        strategy: name.
        dataset: name, as people write it.
        differs: the values in which they differ from other groups with these two in common; empty without such groups.
        members: their indices.
    """

    strategy: str
    dataset: str
    differs: str
    members: tuple[int, ...]

    @property
    def name(self) -> str:
        """All three in a line."""
        family = f"{self.strategy} on {self.dataset}"
        return f"{family}, {self.differs}" if self.differs else family


def group_searches(configs: Sequence[Mapping[str, object]]) -> list[SearchGroup]:
    """Groups of the searches that have these configurations, in order of appearance."""
    groups: dict[tuple[tuple[str, str], ...], list[int]] = defaultdict(list)
    for index, config in enumerate(configs):
        groups[tuple(sorted((key, str(value)) for key, value in config.items() if _matters(key)))].append(index)
    families: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for key in groups:
        families[_family(dict(key))].append(dict(key))
    found = []
    for key, indices in groups.items():
        family = _family(dict(key))
        found.append(SearchGroup(*family, _differs(dict(key), families[family]), tuple(indices)))
    return found


def _matters(key: str) -> bool:
    return not is_among(key, MEANINGLESS)


def _family(config: Mapping[str, str]) -> tuple[str, str]:
    dataset = config["dataset.name"]
    return config["strategy.name"], DATASETS.get(dataset, dataset)


def _differs(config: Mapping[str, str], family: Sequence[Mapping[str, str]]) -> str:
    keys = sorted({key for other in family for key in other})
    differing = [key for key in keys if len({other.get(key) for other in family}) > 1]
    return ", ".join(f"{key.rpartition('.')[2]} {config.get(key, '-')}" for key in differing)


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
