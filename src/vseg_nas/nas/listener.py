"""When a search stops asking, and who watches it. No torch in this file."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from vseg_nas.nas.trial import Trial


@dataclass(frozen=True)
class Budget:
    """The number of trials and of hours after which no cell is asked for.

    Attributes:
        trials: The number of trials, whatever becomes of them.
        hours: The number of hours over all sessions of a run; None sets no limit.
    """

    trials: int
    hours: float | None = None


class SearchListener(Protocol):
    """Watches a search: a live view, a logger. What it raises ends the search, never just a trial."""

    def on_start(self, trials: Sequence[Trial], budget: Budget) -> None:
        """Hears that the search starts or, with earlier `trials`, resumes."""

    def on_trial_start(self, trial: Trial) -> None:
        """Hears that a trial is about to be evaluated, or to reuse an evaluation."""

    def on_epoch(self, trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
        """Hears that epoch `epoch` of `epochs` (1-based) has ended; `score` where the cell was scored at its end."""

    def on_trial_end(self, trial: Trial, trials: Sequence[Trial], diagnostics: dict[str, float]) -> None:
        """Hears that `trial`, the last of the ended `trials`, is in the store; `diagnostics` are the strategy's."""

    def on_end(self, trials: Sequence[Trial]) -> None:
        """Hears that the search is over, or is interrupted."""
