"""What a search remembers from one session to the next, beside its trials."""

import io
from typing import Any

import torch

from vseg_nas.clock import working_s
from vseg_nas.errors import RunError
from vseg_nas.nas.pruners import Pruner, is_halfway
from vseg_nas.nas.strategies.base import Strategy
from vseg_nas.nas.trial import Trial


class SearchState:
    """The states of strategy and pruner, the scores that the pruner is still to be told, and the seconds worked.

    The pruner is told the half-way scores of a batch at its end, in the order in which its trials were told to the
    strategy. So its answers to the trials of one batch depend on earlier batches only. In an asynchronous search it is
    told each score at once.

    Args:
        strategy: Strategy of the search.
        pruner: Pruner of the search.
        stored: State that an earlier session has left, as from `to_bytes`; None if there was none.

    Raises:
        RunError: The stored state is damaged or of another search.
    """

    def __init__(self, strategy: Strategy, pruner: Pruner, stored: bytes | None) -> None:
        self._strategy = strategy
        self._pruner = pruner
        self._started_s = working_s()
        self._worked_before_s = 0.0
        self._halfway_scores: dict[int, float] = {}
        self._pending_scores: list[float] = []
        if stored is not None:
            self._load(stored)

    def worked_s(self) -> float:
        """Seconds of work over all sessions."""
        return self._worked_before_s + working_s() - self._started_s

    def note_epoch(self, trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
        """Remembers the half-way score of a trial until it is told."""
        if is_halfway(epoch, epochs) and score is not None:
            self._halfway_scores[trial.id] = score

    def tell_pruner(self, trial: Trial, *, ends_batch: bool) -> None:
        """Tells the pruner the half-way score of a trial, or keeps it until the batch has ended.

        Args:
            trial: The trial.
            ends_batch: Whether it is the last of its batch: the scores of all of the batch are told now.
        """
        if trial.id in self._halfway_scores:
            self._pending_scores.append(self._halfway_scores.pop(trial.id))
        if ends_batch:
            for score in self._pending_scores:
                self._pruner.report(score)
            self._pending_scores.clear()

    def to_bytes(self) -> bytes:
        """Returns the whole state as bytes, for the trial store."""
        buffer = io.BytesIO()
        # Stored searches have these keys: "stopping" is the pruner, "heard" the scores that it is still to be told.
        state = {
            "strategy": self._strategy.state_dict(),
            "stopping": self._pruner.state_dict(),
            "heard": self._pending_scores,
            "worked_s": self.worked_s(),
        }
        torch.save(state, buffer)
        return buffer.getvalue()

    def _load(self, stored: bytes) -> None:
        try:
            state: Any = torch.load(io.BytesIO(stored), weights_only=True)
        except Exception as error:  # bytes that are no pickle can make the unpickler raise anything
            raise RunError("the stored state of the search is damaged or not of tensors alone") from error
        try:
            _check_finite(state)
            self._strategy.load_state_dict(state["strategy"])
            self._pruner.load_state_dict(state["stopping"])
            self._pending_scores = [float(score) for score in state["heard"]]
            self._worked_before_s = float(state["worked_s"])
        except (KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise RunError(
                "the stored state of the search does not fit: was it made with another strategy or space?"
            ) from error


def _check_finite(state: object) -> None:
    """Raises `ValueError` for a state with a number that nothing can be computed with, at any depth."""
    if isinstance(state, dict):
        state = [*state.values()]
    if isinstance(state, list | tuple):
        for value in state:
            _check_finite(value)
    elif isinstance(state, torch.Tensor | float) and not torch.as_tensor(state).isfinite().all():
        raise ValueError("found a value that is not finite")
