"""The interface of a search's listeners. No torch in this file."""

from collections.abc import Sequence
from typing import Protocol

from vseg_nas.nas.settings import Budget
from vseg_nas.nas.trial import Trial


class SearchListener(Protocol):
    """Watches a search: a live view, a logger. What it raises ends the search, never just a trial."""

    def on_start(self, trials: Sequence[Trial], budget: Budget) -> None:
        """Called when the search starts or, with earlier `trials`, resumes."""

    def on_trial_start(self, trial: Trial) -> None:
        """Called when a trial is about to be evaluated, or to reuse an evaluation."""

    def on_epoch(self, trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
        """Called when epoch `epoch` of `epochs` (1-based) has ended; `score` where the cell was scored at its end."""

    def on_trial_end(self, trial: Trial, trials: Sequence[Trial], diagnostics: dict[str, float]) -> None:
        """Called when `trial`, the last of the ended `trials`, is in the store; `diagnostics` are the strategy's."""

    def on_end(self, trials: Sequence[Trial]) -> None:
        """Called when the search is over, or is interrupted."""
