"""Runs candidates in a child process, where they can crash, hang and eat memory without harm to the search.

The child comes from multiprocessing's fork server, which has imported torch once: to replace a child takes a
fraction of a second, where `spawn` imports for many; and unlike a fork of the search, it has none of the search's
threads, files and CUDA context.
"""

import multiprocessing
import pickle
import shutil
import signal
import time
from collections.abc import Generator, Iterable
from contextlib import suppress
from multiprocessing import connection, forkserver, resource_tracker
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from vseg_nas.clock import working_s
from vseg_nas.errors import RunError
from vseg_nas.nas.executor import Died, Failure, Outcome, Report, one_at_a_time
from vseg_nas.nas.stopping import StoppingRule
from vseg_nas.nas.trial import Evaluation, FailureKind, Trial
from vseg_nas.nas.worker import Broken, Ended, Epoch, Message, Question, Ready, Recipe, serve
from vseg_nas.signals import DEAF_TO

_CONTEXT = multiprocessing.get_context("forkserver")
_OWN_SIGNAL_S = 1.0
_STARTS = 3
_RESTART_S = 0.5


class IsolatedExecutor:
    """One candidate after the other, in a child process that is replaced when it has died or has to.

    The stopping rule stays in this process, and what candidates do is a function of the same things as in
    `SerialExecutor`: a search has the same history with either.

    Args:
        recipe: of the evaluator; picklable.
        stopping: the rule that candidates are asked about half-way.
        folder: the child's own; emptied for each child, removed in the end. What a child writes on its standard
            streams is added to a file of this name with the suffix ``.log``.
        limit_s: seconds that a candidate may take, those not counted in which the search was suspended; None: any
            number.
        memory_gib: limit of the child's data (RLIMIT_DATA), of which it holds some before the first candidate; None: no
            limit.
        grace_s: from asking a candidate that is too slow to end (SIGTERM) to ending it (SIGKILL).
    """

    def __init__(
        self,
        recipe: Recipe,
        stopping: StoppingRule,
        folder: Path,
        *,
        limit_s: float | None = None,
        memory_gib: float | None = None,
        grace_s: float = 10.0,
    ) -> None:
        self._recipe = pickle.dumps(recipe)
        self._stopping = stopping
        self._folder = folder
        self._limit_s = limit_s
        self._memory_gib = memory_gib
        self._grace_s = grace_s
        self._worker: _Worker | None = None
        _CONTEXT.set_forkserver_preload([serve.__module__, type(recipe).__module__])

    def run(self, trials: Iterable[Trial | None], report: Report) -> Generator[Outcome]:
        """See `Executor`."""
        try:
            for trial in one_at_a_time(trials):
                yield Outcome(trial, self._evaluate(trial, report))
        finally:
            self._end_worker(grace_s=0)
            shutil.rmtree(self._folder, ignore_errors=True)
            _remove_if_empty(self._log)

    def _evaluate(self, trial: Trial, report: Report) -> Evaluation | Failure | Died:
        if self._worker is None or not self._worker.is_alive():
            self._start_worker()
        assert self._worker is not None
        deadline = None if self._limit_s is None else working_s() + self._limit_s
        try:
            self._worker.send(trial)
            while (message := self._worker.receive(deadline)) is not None:
                if isinstance(message, Ended):
                    if not message.usable:
                        self._end_worker(grace_s=0)
                    return message.result
                self._react(message, trial, report)
        except _Gone:
            return self._died()
        self._end_worker(self._grace_s)
        return Failure(FailureKind.TIMEOUT, f"took longer than {self._limit_s:g} s")

    def _react(self, message: Message, trial: Trial, report: Report) -> None:
        assert self._worker is not None
        match message:
            case Epoch():
                report(trial, *message)
            case Question(score):
                self._worker.send(self._stopping.keep_going(score))
            case Broken(error):
                raise error

    def _died(self) -> Died:
        assert self._worker is not None
        status = self._worker.end(grace_s=0)
        self._worker = None
        if status == -signal.SIGTERM:
            time.sleep(_OWN_SIGNAL_S)  # usually sent to the whole job: leave ours time to arrive and end the search
        return Died(f"its process ended with {_name(status)}")

    def _start_worker(self) -> None:
        self._end_worker(grace_s=0)
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        self._worker = _Worker(self._recipe, self._folder, self._log, self._memory_gib)
        try:
            message = self._worker.receive(deadline=None)
        except _Gone:
            how = _name(self._worker.end(grace_s=0))
            self._worker = None
            raise RunError(f"the process for candidates ended with {how} before the first; see {self._log}") from None
        if isinstance(message, Broken):
            raise message.error
        assert isinstance(message, Ready)

    def _end_worker(self, grace_s: float) -> None:
        if self._worker is not None:
            self._worker.end(grace_s)
            self._worker = None

    @property
    def _log(self) -> Path:
        return self._folder.with_suffix(".log")


class _Gone(Exception):
    """The child has ended."""


class _Worker:
    """The child process as its parent sees it."""

    def __init__(self, recipe: bytes, folder: Path, log: Path, memory_gib: float | None) -> None:
        self._pipe, theirs = _CONTEXT.Pipe()
        self._process = _started(theirs, recipe, folder, log, memory_gib)
        theirs.close()

    def is_alive(self) -> bool:
        return self._process.is_alive()

    def send(self, what: Trial | bool) -> None:
        try:
            self._pipe.send(what)
        except OSError:
            raise _Gone from None

    def receive(self, deadline: float | None) -> Message | None:
        """The next message; None if it does not come until `working_s` has reached the deadline."""
        while True:
            left = None if deadline is None else max(0.0, deadline - working_s())
            ready = connection.wait([self._pipe, self._process.sentinel], left)
            if ready:
                break
            if left == 0:
                return None
        try:
            if self._pipe in ready:
                message: Message = self._pipe.recv()
                return message
        except (EOFError, OSError):
            pass
        raise _Gone

    def end(self, grace_s: float) -> int:
        """Ends the process, and returns how it ended: see `exitcode` of multiprocessing."""
        self._pipe.close()
        if grace_s:
            self._process.terminate()
            self._process.join(grace_s)
        self._process.kill()
        self._process.join()
        status = self._process.exitcode
        assert status is not None
        self._process.close()
        return status


def _started(*arguments: Any) -> ForkServerProcess:
    """A process that runs `serve`.

    Raises:
        RunError: the fork server, which is replaced when it has ended, ends each time before it has made one.
    """
    for _ in range(_STARTS):
        process = _CONTEXT.Process(target=serve, args=arguments, daemon=True)
        _start_fork_server()
        try:
            process.start()
        except (EOFError, ConnectionError):
            time.sleep(_RESTART_S)  # one that is about to end would pass for running
            continue
        return process
    raise RunError(
        f"executor=isolated: the fork server ended {_STARTS} times before it had made a process; for want of memory?"
    )


def _start_fork_server() -> None:
    """If there is none yet, one that never sees the signals that are the parent's alone, nor do its children."""
    resource_tracker.ensure_running()  # when started, it unblocks them
    before = signal.pthread_sigmask(signal.SIG_BLOCK, DEAF_TO)
    try:
        forkserver.ensure_running()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _name(status: int) -> str:
    names = {-number: number.name for number in signal.Signals}
    return names.get(status, f"status {status}")


def _remove_if_empty(file: Path) -> None:
    with suppress(FileNotFoundError):
        if file.stat().st_size == 0:
            file.unlink()
