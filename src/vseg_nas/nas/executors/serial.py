"""Evaluates one candidate after the other, in the process of the search."""

import gc
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from vseg_nas.errors import NonFiniteError, RunError, UserError
from vseg_nas.nas.executors.executor import Attempt, Failure, OnEpoch
from vseg_nas.nas.trial import Evaluation, Evaluator, FailureKind, Trial

LONGEST_REASON = 400
"""How many characters of an exception's message are stored."""
FREEZE_EVERY = 100
"""Number of trials from one call of `gc.freeze` to the next."""


class SerialExecutor:
    """Evaluates one candidate after the other in this process, within `wait`."""

    def __init__(self, evaluator: Evaluator) -> None:
        self._evaluator = evaluator
        self._device_is_lost = False

    @contextmanager
    def session(self, on_epoch: OnEpoch) -> Iterator[None]:
        """See `Executor`."""
        self._on_epoch = on_epoch
        self._trial: Trial | None = None
        self._evaluated = 0
        gc.freeze()  # nothing that is there already is a candidate's garbage, and each collection would go through it
        try:
            yield
        finally:
            gc.unfreeze()

    def has_room(self) -> bool:
        """See `Executor`.

        Raises:
            RunError: After the last candidate, this process cannot use the GPU any more.
        """
        if self._device_is_lost:
            raise RunError("CUDA error: this process can no longer use the GPU; continue with resume=")
        return self._trial is None

    def submit(self, trial: Trial) -> None:
        """See `Executor`."""
        self._trial = trial

    def wait(self) -> list[Attempt]:
        """See `Executor`."""
        if self._trial is None:
            return []
        attempt = Attempt(self._trial, self._evaluate(self._trial))
        self._trial = None
        _free_memory()
        self._evaluated += 1
        if self._evaluated % FREEZE_EVERY == 0:
            # Ended trials stay alive, too; unfrozen, each thousand would slow every collection by a millisecond.
            gc.freeze()
        self._device_is_lost = device_is_lost()
        return [attempt]

    def _evaluate(self, trial: Trial) -> Evaluation | Failure:
        progress = _Progress(trial, self._on_epoch)
        try:
            evaluation = self._evaluator.evaluate(trial.genotype, trial.seed, progress)
        except (UserError, OSError):
            raise
        except Exception as error:  # whatever a candidate raises, the search must survive it
            if progress.listener_failed:
                raise
            return _failure(error)
        if not evaluation.is_finite:
            return Failure(FailureKind.NONFINITE, f"score {evaluation.score}, mIoU {evaluation.miou}")
        return evaluation


class _Progress:
    """Passes progress on, and remembers whether an exception came from the listener and not from the candidate."""

    def __init__(self, trial: Trial, on_epoch: OnEpoch) -> None:
        self._trial = trial
        self._on_epoch = on_epoch
        self.listener_failed = False

    def __call__(self, epoch: int, epochs: int, score: float | None) -> None:
        self.listener_failed = True
        self._on_epoch(self._trial, epoch, epochs, score)
        self.listener_failed = False


def _failure(error: Exception) -> Failure:
    frame = traceback.extract_tb(error.__traceback__)[-1]
    where = f"{frame.filename.rpartition('/')[2]}:{frame.lineno} in {frame.name}"
    message = " ".join(repr(error).split())
    if len(message) > LONGEST_REASON:
        message = f"{message[:LONGEST_REASON]}..."
    return Failure(_kind(error), f"{message} at {where}")


def _kind(error: Exception) -> FailureKind:
    if isinstance(error, NonFiniteError):
        return FailureKind.NONFINITE
    # The allocator of the CPU raises a plain RuntimeError.
    if isinstance(error, (MemoryError, torch.OutOfMemoryError)) or "can't allocate memory" in str(error):
        return FailureKind.OOM
    return FailureKind.ERROR


def _free_memory() -> None:
    """Collects modules, which are cyclic garbage and would accumulate over hundreds of candidates."""
    gc.collect()
    if torch.cuda.is_initialized() and not device_is_lost():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()


def device_is_lost() -> bool:
    """Returns whether an error on the GPU, such as a failed assertion, has ended its use by this process."""
    if not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        return False
    try:
        torch.cuda.synchronize()
    except RuntimeError:
        return True
    return False
