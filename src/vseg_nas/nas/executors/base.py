"""What an executor is, and the border between a candidate's fault and everybody else's.

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
    """The process that evaluated the candidate has ended, perhaps by no fault of the candidate: try it again."""

    reason: str

    def __str__(self) -> str:
        return self.reason


class Outcome(NamedTuple):
    """A trial, and what came of this attempt at it."""

    trial: Trial
    result: Evaluation | Failure | Died


class Report(Protocol):
    """Called after every epoch of a trial; what it raises ends the search."""

    def __call__(self, trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
        """See `Progress`."""


class Executor(Protocol):
    """Evaluates trials, one or several at a time."""

    def session(self, report: Report) -> AbstractContextManager[None]:
        """Trials can be evaluated within the context; when it ends, however it does, nothing runs any more."""
        ...

    def has_room(self) -> bool:
        """Whether a trial can be submitted now."""
        ...

    def submit(self, trial: Trial) -> None:
        """Takes a trial to evaluate; to be called only while there is room. One that has died may come again."""
        ...

    def wait(self) -> list[Outcome]:
        """Waits for news of what was submitted; returns what has ended, in any order, and perhaps nothing.

        Raises:
            UserError: Something has gone wrong that is no candidate's fault.
            OSError: Likewise.
        """
        ...
