"""The common part of executors with worker processes: deadlines, deaths, replacement, and signals to the whole job.

What candidates do in a worker is a function of the same things as in `SerialExecutor`, so a search has the same
history with either.
"""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Generic, TypeVar

from vseg_nas.clock import working_s
from vseg_nas.errors import RunError
from vseg_nas.nas.executors.executor import Attempt, Died, Failure, OnEpoch
from vseg_nas.nas.executors.worker import CacheMiss, Ended, Epoch, FatalError, Message, Ready
from vseg_nas.nas.pruners import Pruner
from vseg_nas.nas.trial import FailureKind, Trial

OWN_SIGNAL_S = 1.0  # in which a signal to the whole job that has ended a worker reaches this process as well
MAX_BAD_STARTS = 3  # one worker may be killed by chance as it starts, three in a row hardly

logger = logging.getLogger(__name__)


class WorkerDied(Exception):
    """A worker's process has ended.

    Args:
        how: The way in which it ended, such as ``by SIGKILL``.
        perhaps_whole_job: Whether the signal that ended it may have been sent to the process of the search as well.
    """

    def __init__(self, how: str, *, perhaps_whole_job: bool) -> None:
        super().__init__(how)
        self.how = how
        self.perhaps_whole_job = perhaps_whole_job


class WorkerHandle(ABC):
    """The handle of a worker, which starts, is free, evaluates a trial, or is about to end.

    Attributes:
        trial: The trial that the worker evaluates; None if there is none.
        deadline: When its time is up, on the clock of `working_s`; None means never.
        is_ready: Whether its evaluator has been built.
        is_terminating: Whether it has been asked to end, because its trial has taken too long.
    """

    def __init__(self) -> None:
        self.trial: Trial | None = None
        self.deadline: float | None = None
        self.is_ready = False
        self.is_terminating = False

    @property
    def is_free(self) -> bool:
        """Whether the worker can take a trial."""
        return self.is_ready and self.trial is None

    @abstractmethod
    def begin(self, trial: Trial, pruner: Pruner) -> None:
        """Sends a trial, about which messages will come. If the process has ended, the next `receive` says so."""

    @abstractmethod
    def has_message(self) -> bool:
        """Returns whether `receive` would return or raise at once."""

    @abstractmethod
    def receive(self) -> Message:
        """Waits for the next message and returns it.

        Raises:
            WorkerDied: There is no message, because the process has ended.
        """

    @abstractmethod
    def is_alive(self) -> bool:
        """Returns whether the process runs."""

    @abstractmethod
    def terminate(self) -> None:
        """Asks the process to end."""

    @abstractmethod
    def kill(self) -> None:
        """Ends the process at once; may be called again."""


W = TypeVar("W", bound=WorkerHandle)


class Supervisor(ABC, Generic[W]):
    """An executor that gives each worker one candidate at a time, and replaces workers that die or are too slow.

    Args:
        pruner: Pruner of the search; a copy of it is sent with each trial.
        limit_s: Seconds that a candidate may take, without those of suspension; None means any number.
        grace_s: Seconds from asking a candidate that is too slow to end, to ending it; with 0 it is ended at once.
    """

    def __init__(self, pruner: Pruner, *, limit_s: float | None = None, grace_s: float = 0.0) -> None:
        self._pruner = pruner
        self._limit_s = limit_s
        self._grace_s = grace_s
        self._paused_at = -OWN_SIGNAL_S

    @contextmanager
    def session(self, on_epoch: OnEpoch) -> Iterator[None]:
        """See `Executor`."""
        self._on_epoch = on_epoch
        self._bad_starts = 0
        self._workers: list[W] = []
        with self._environment():
            try:
                for index in range(self._count()):
                    self._workers.append(self._open(index))
                yield
            finally:
                self._close(self._workers)

    def has_room(self) -> bool:
        """See `Executor`."""
        for worker in [worker for worker in self._workers if worker.is_free]:
            if worker.is_alive():
                return True
            self._replace(worker)  # it ended between trials, so no trial's attempts count it
        return False

    def submit(self, trial: Trial) -> None:
        """See `Executor`."""
        worker = next(worker for worker in self._workers if worker.is_free)
        worker.trial = trial
        worker.deadline = None if self._limit_s is None else working_s() + self._limit_s
        worker.begin(trial, self._pruner)

    def wait(self) -> list[Attempt]:
        """See `Executor`."""
        if all(worker.is_free for worker in self._workers):
            return []
        attempts = [self._check_deadline(worker) for worker in list(self._workers)]
        if not any(attempts):
            deadlines = [worker.deadline for worker in self._workers if worker.deadline is not None]
            timeout_s = max(0.0, min(deadlines) - working_s()) if deadlines else None
            attempts = [self._react(worker) for worker in self._poll(timeout_s)]
        return [attempt for attempt in attempts if attempt is not None]

    def _check_deadline(self, worker: W) -> Attempt | None:
        """Ends a candidate whose time is up: it is first asked to end, and killed after the grace period."""
        if worker.deadline is None or working_s() < worker.deadline:
            return None
        if not worker.is_terminating:
            if worker.has_message():
                return None  # it was in time, and this process is late
            if self._grace_s:
                worker.terminate()
                worker.is_terminating = True
                worker.deadline = working_s() + self._grace_s
                return None
        return self._time_out(worker)

    def _time_out(self, worker: W) -> Attempt:
        assert worker.trial is not None
        attempt = Attempt(worker.trial, Failure(FailureKind.TIMEOUT, f"took longer than {self._limit_s:g} s"))
        self._replace(worker)
        return attempt

    def _react(self, worker: W) -> Attempt | None:
        try:
            message = worker.receive()
        except WorkerDied as death:
            return self._time_out(worker) if worker.is_terminating else self._on_death(worker, death)
        match message:
            case _ if worker.is_terminating:
                pass  # also a result: the trial is a timeout, however soon after its deadline this came
            case Ready():
                worker.is_ready = True
                self._bad_starts = 0
            case Epoch():
                assert worker.trial is not None
                self._on_epoch(worker.trial, *message)
            case Ended(result, is_usable):
                assert worker.trial is not None
                attempt = Attempt(worker.trial, result)
                worker.trial = worker.deadline = None
                if not is_usable:
                    self._replace(worker)
                return attempt
            case FatalError(error):
                raise error
            case CacheMiss():
                self._on_cache_miss(worker, message)
        return None

    def _on_death(self, worker: W, death: WorkerDied) -> Attempt | None:
        """Replaces a worker; the queue decides whether its trial is tried again.

        Raises:
            RunError: Several workers in a row have ended before they could take a trial.
        """
        if death.perhaps_whole_job and working_s() - self._paused_at >= OWN_SIGNAL_S:
            # If a signal to the whole job has ended the worker, it reaches this process now and ends the search. One
            # pause is enough for several deaths that are noticed one after the other.
            time.sleep(OWN_SIGNAL_S)
            self._paused_at = working_s()
        if not worker.is_ready:
            self._bad_starts += 1
            if self._bad_starts == MAX_BAD_STARTS:
                raise RunError(self._bad_start(death)) from death
        attempt = None if worker.trial is None else Attempt(worker.trial, Died(f"its process ended {death.how}"))
        self._replace(worker)
        return attempt

    def _replace(self, worker: W) -> None:
        index = self._workers.index(worker)
        self._kill(worker)
        self._workers[index] = self._open(index)

    def _kill(self, worker: W) -> None:
        worker.kill()

    @abstractmethod
    def _environment(self) -> AbstractContextManager[None]:
        """Returns the context in which workers can be opened."""

    @abstractmethod
    def _count(self) -> int:
        """Returns how many workers to open."""

    @abstractmethod
    def _open(self, index: int) -> W:
        """Starts a worker, which sends `Ready` when it can take a trial."""

    @abstractmethod
    def _poll(self, timeout_s: float | None) -> Sequence[W]:
        """Returns workers with a message; none if none has come after some time, at most ``timeout_s`` seconds."""

    @abstractmethod
    def _close(self, workers: Sequence[W]) -> None:
        """Ends all workers at once."""

    @abstractmethod
    def _bad_start(self, death: WorkerDied) -> str:
        """Returns the error message for the case that no worker reaches its first trial."""

    def _on_cache_miss(self, worker: W, message: CacheMiss) -> None:
        """Ends the search, unless an executor knows how to send the files."""
        raise message.error


def useful_workers(workers: int, at_most: int | None) -> int:
    """Returns how many of the workers can ever be busy, with a warning if that is not all of them.

    Args:
        workers: Number of workers that was asked for.
        at_most: Number of candidates that there can be at a time; None means any number.
    """
    useful = workers if at_most is None else min(workers, at_most)
    if useful < workers:
        logger.warning(
            "executor.workers: %d of %d stay unused, for phase.search.batch=%d", workers - useful, workers, useful
        )
    return useful
