"""The interface of executors, and the border between failures of a candidate and all others.

A candidate that raises, diverges or does not fit into memory is a failed trial, and the search goes on. A full disk, a
lost file or a kill says nothing about the cell: it ends the search, and the trial runs again when the search resumes.
"""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from vseg_nas.nas.trial import Evaluation, FailureKind, Trial


@dataclass(frozen=True)
class Failure:
    """Why a candidate has no evaluation. Text only: an exception object would keep the whole model alive."""

    kind: FailureKind
    reason: str

    def __str__(self) -> str:
        return f"{self.kind}: {self.reason}"


@dataclass(frozen=True)
class Died:
    """The process that evaluated the candidate has ended, perhaps not because of the candidate. It is tried again."""

    reason: str

    def __str__(self) -> str:
        return self.reason


class Attempt(NamedTuple):
    """A trial, and the result of one attempt to evaluate it."""

    trial: Trial
    result: Evaluation | Failure | Died


class OnEpoch(Protocol):
    """Called after every epoch of a trial; an exception from it ends the search."""

    def __call__(self, trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
        """See `Progress`."""


class Executor(Protocol):
    """Evaluates trials, one or several at a time."""

    def session(self, on_epoch: OnEpoch) -> AbstractContextManager[None]:
        """Returns a context manager in which trials can be evaluated; at its end nothing runs any more."""
        ...

    def has_room(self) -> bool:
        """Returns whether a trial can be submitted now."""
        ...

    def submit(self, trial: Trial) -> None:
        """Starts a trial; to be called only while there is room. A trial whose process died may be submitted again."""
        ...

    def wait(self) -> list[Attempt]:
        """Waits for news of the submitted trials and returns what has ended, in any order, perhaps nothing.

        Raises:
            UserError: Something has failed that is not the fault of a candidate.
            OSError: The machine has failed, not a candidate.
        """
        ...
