"""Where candidates are evaluated, and the border between a candidate's fault and everybody else's.

A candidate that raises, diverges or does not fit into memory is a failed trial and the search goes on. A full
disk, a lost file or a kill says nothing about the cell: it ends the search, and the trial runs again when the
search is continued.
"""

import gc
import traceback
from collections.abc import Generator, Iterable, Iterator
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch

from vseg_nas.errors import NonFiniteError, RunError, UserError
from vseg_nas.nas.trial import Evaluation, Evaluator, FailureKind, Trial

LONGEST_REASON = 400
FREEZE_EVERY = 100
"""Trials from one to the next time that all objects alive are excepted from the search for garbage."""


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
    """A trial and what came of this attempt at it."""

    trial: Trial
    result: Evaluation | Failure | Died


class Report(Protocol):
    """Called after every epoch of a trial; what it raises ends the search."""

    def __call__(self, trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
        """See `Progress`."""


class Executor(Protocol):
    """Runs evaluations, one or many at a time."""

    def run(self, trials: Iterable[Trial | None], report: Report) -> Generator[Outcome]:
        """Yields an outcome for each trial as it ends, in any order; whoever draws them closes the generator.

        `trials` is lazy: draw the next one only when there is a free place to run it, which is after the
        outcomes yielded so far have been learnt from. None instead of a trial: draw again after the next outcome.
        A trial whose process has died may be drawn again.
        """
        ...


def one_at_a_time(trials: Iterable[Trial | None]) -> Iterator[Trial]:
    """The trials for an executor that never draws while one runs: such a one need not wait."""
    for trial in trials:
        assert trial is not None
        yield trial


class SerialExecutor:
    """One candidate after the other, in this process."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator

    def run(self, trials: Iterable[Trial | None], report: Report) -> Generator[Outcome]:
        """See `Executor`."""
        gc.freeze()  # what is there already is no candidate's garbage, and takes long to go through each time
        try:
            for count, trial in enumerate(one_at_a_time(trials), 1):
                result = self._evaluate(trial, report)
                _free_memory()
                if count % FREEZE_EVERY == 0:
                    gc.freeze()  # nor are the trials that have ended, a millisecond each time for every thousand
                yield Outcome(trial, result)
                if device_is_lost():
                    raise RunError("CUDA error: this process can no longer use the GPU; continue with resume=")
        finally:
            gc.unfreeze()

    def _evaluate(self, trial: Trial, report: Report) -> Evaluation | Failure:
        progress = _Progress(trial, report)
        try:
            evaluation = self._evaluator.evaluate(trial.genotype, trial.seed, progress)
        except (UserError, OSError):
            raise
        except Exception as error:  # whatever a candidate raises, the search must survive it
            if progress.broken:
                raise
            return _failure(error)
        if not evaluation.is_finite:
            return Failure(FailureKind.NONFINITE, f"score {evaluation.score}, mIoU {evaluation.miou}")
        return evaluation


class _Progress:
    """Passes progress on, and remembers if the listener, not the candidate, was what raised."""

    def __init__(self, trial: Trial, report: Report) -> None:
        self._trial = trial
        self._report = report
        self.broken = False

    def __call__(self, epoch: int, epochs: int, score: float | None) -> None:
        self.broken = True
        self._report(self._trial, epoch, epochs, score)
        self.broken = False


def _failure(error: Exception) -> Failure:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{frame.filename.rpartition('/')[2]}:{frame.lineno} in {frame.name}"
    message = " ".join(repr(error).split())
    if len(message) > LONGEST_REASON:
        message = f"{message[:LONGEST_REASON]}..."
    return Failure(_kind(error), f"{message} at {place}")


def _kind(error: Exception) -> FailureKind:
    if isinstance(error, NonFiniteError):
        return FailureKind.NONFINITE
    # The allocator of the CPU raises a plain RuntimeError.
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error):
        return FailureKind.OOM
    return FailureKind.ERROR


def _free_memory() -> None:
    """Modules are cyclic garbage that would otherwise pile up over hundreds of candidates."""
    gc.collect()
    if torch.cuda.is_initialized() and not device_is_lost():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


def device_is_lost() -> bool:
    """Whether an error on the GPU, such as a failed assertion there, made its use by this process impossible."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False
