"""The progress of a search in numbers, as the live view and the lines without a terminal show it."""

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from vseg_nas.nas.history import Outcome, Scored, ended, outcome, window_for
from vseg_nas.nas.trial import Trial

NEWEST = 5
"""How many of the trials that have ended last are shown."""


@dataclass(frozen=True)
class Running:
    """A trial that runs; `epoch` of `epochs` epochs have ended, both are 0 before the first has."""

    trial: Trial
    epoch: int = 0
    epochs: int = 0
    score: float | None = None


@dataclass(frozen=True)
class SearchProgress:
    """The progress of a search, as the live view shows it.

    Attributes:
        budget: The number of trials that there will be.
        done: The number of trials that have ended.
        counts: The number of trials that have ended in each way.
        newest: The trials that have ended last.
        marks: The best score and the recent mean in words.
    """

    budget: int
    done: int
    counts: dict[Outcome, int]
    newest: tuple[Trial, ...]
    marks: tuple[str, ...]


class TrialCounter:
    """Counts the trials that have ended; adding one costs the same however long the search is.

    Args:
        trials: The trials that have ended so far.
        budget: The number of trials that there will be.
    """

    def __init__(self, trials: Sequence[Trial], budget: int) -> None:
        self._budget = budget
        self._count(trials)

    def add(self, trial: Trial, trials: Sequence[Trial]) -> None:
        """Adds a trial, the last one of `trials`; if a younger one has been added already, all are counted again."""
        if trial.id > self._last:
            self._add(trial)
        else:
            self._count(trials)

    def progress(self) -> SearchProgress:
        """Returns the state of the search."""
        marks: tuple[str, ...] = ()
        if self._best is not None:
            marks = (
                f"best {self._best.evaluation.score:.4f} (trial {self._best.trial.id})",
                f"mean of last {len(self._recent)}: {sum(self._recent) / len(self._recent):.4f}",
            )
        done = sum(self._counts.values())
        return SearchProgress(self._budget, done, dict(self._counts), tuple(self._newest), marks)

    def _count(self, trials: Sequence[Trial]) -> None:
        self._counts = dict.fromkeys(Outcome, 0)
        self._newest: deque[Trial] = deque(maxlen=NEWEST)
        self._recent: deque[float] = deque(maxlen=window_for(self._budget))
        self._best: Scored | None = None
        self._last = -1
        for trial in ended(trials):
            self._add(trial)

    def _add(self, trial: Trial) -> None:
        self._last = trial.id
        self._counts[outcome(trial)] += 1
        self._newest.append(trial)
        if trial.evaluation is not None:
            self._recent.append(trial.evaluation.score)
            if self._best is None or trial.evaluation.reward > self._best.evaluation.reward:
                self._best = Scored(trial, trial.evaluation)
