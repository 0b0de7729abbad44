"""Evaluates candidates in child processes, where they can crash, hang and exhaust memory without harm to the search.

Children come from multiprocessing's fork server, which has imported torch once: to replace one takes a fraction of a
second, where `spawn` imports for many; and unlike a fork of the search, it has none of the search's threads, files and
CUDA context.
"""

import multiprocessing
import pickle
import shutil
import signal
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from multiprocessing import connection, forkserver, resource_tracker
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any

from vseg_nas.errors import RunError
from vseg_nas.nas.executors.supervisor import Supervisor, WorkerDied, WorkerHandle
from vseg_nas.nas.executors.worker import EvaluatorFactory, Message, Task, serve
from vseg_nas.nas.pruners import Pruner
from vseg_nas.nas.trial import Trial
from vseg_nas.runs.processes import how_ended, signals_blocked

_CONTEXT = multiprocessing.get_context("forkserver")
_STARTS = 3  # a fork server that the system has killed is replaced; one that dies again and again is out of memory
_RESTART_S = 0.5  # in which a fork server that is about to end has ended, so that the next one is started


class IsolatedWorker(WorkerHandle):
    """The parent's handle of a child process.

    Args:
        arguments: The arguments of `serve` after the pipe.
    """

    def __init__(self, *arguments: Any) -> None:
        super().__init__()
        self.pipe, theirs = _CONTEXT.Pipe()
        self.process = _start(theirs, *arguments)
        theirs.close()

    def begin(self, trial: Trial, pruner: Pruner) -> None:
        """See `WorkerHandle`."""
        with suppress(OSError):  # the process has ended
            self.pipe.send(Task(trial, pruner))

    def has_message(self) -> bool:
        """See `WorkerHandle`."""
        return bool(connection.wait([self.pipe, self.process.sentinel], 0))

    def receive(self) -> Message:
        """See `WorkerHandle`."""
        if self.pipe in connection.wait([self.pipe, self.process.sentinel]):
            with suppress(EOFError, OSError):
                message: Message = self.pipe.recv()
                return message
        self.process.kill()  # it may have closed the pipe without having ended
        self.process.join()
        status = self.process.exitcode
        assert status is not None
        # SIGTERM is usually sent to the whole job; anything else is of this process.
        raise WorkerDied(how_ended(status), perhaps_whole_job=status == -signal.SIGTERM)

    def is_alive(self) -> bool:
        """See `WorkerHandle`."""
        return self.process.is_alive()

    def terminate(self) -> None:
        """See `WorkerHandle`."""
        self.process.terminate()

    def kill(self) -> None:
        """See `WorkerHandle`."""
        self.pipe.close()
        self.process.kill()
        self.process.join()


class IsolatedExecutor(Supervisor[IsolatedWorker]):
    """Evaluates one candidate in each of some child processes, which are replaced when they die or take too long.

    Args:
        factory: Builds the evaluator in each child.
        pruner: The pruner, which decides in the parent, as in `Supervisor`.
        folder: Folder in which each child has one, emptied before the child starts; removed at the end. The children's
            output goes to the file of that name with ``.log``.
        workers: Number of child processes.
        limit_s: The most seconds that one candidate may take, as in `Supervisor`.
        memory_gib: Limit of a child's data in GiB (RLIMIT_DATA), of which it holds some before the first candidate;
            None: no limit.
        grace_s: The seconds between the request to end and the kill, as in `Supervisor`.
    """

    def __init__(
        self,
        factory: EvaluatorFactory,
        pruner: Pruner,
        folder: Path,
        *,
        workers: int = 1,
        limit_s: float | None = None,
        memory_gib: float | None = None,
        grace_s: float = 10.0,
    ) -> None:
        super().__init__(pruner, limit_s=limit_s, grace_s=grace_s)
        self._factory = pickle.dumps(factory)
        self._folder = folder
        self._workers_wanted = workers
        self._memory_gib = memory_gib
        _CONTEXT.set_forkserver_preload([serve.__module__, type(factory).__module__])

    @contextmanager
    def _environment(self) -> Iterator[None]:
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        try:
            yield
        finally:
            shutil.rmtree(self._folder, ignore_errors=True)
            with suppress(FileNotFoundError):
                if self._log.stat().st_size == 0:
                    self._log.unlink()

    def _count(self) -> int:
        return self._workers_wanted

    def _open(self, index: int) -> IsolatedWorker:
        folder = self._folder / str(index)
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return IsolatedWorker(self._factory, folder, self._log, self._memory_gib)

    def _poll(self, timeout_s: float | None) -> Sequence[IsolatedWorker]:
        sources = {source: worker for worker in self._workers for source in (worker.pipe, worker.process.sentinel)}
        ready = connection.wait(list(sources), timeout_s)
        return list(dict.fromkeys(sources[source] for source in ready))  # type: ignore[index]

    def _close(self, workers: Sequence[IsolatedWorker]) -> None:
        for worker in workers:  # all at once, before the first is waited for
            worker.process.kill()
        for worker in workers:
            worker.kill()

    def _bad_start(self, death: WorkerDied) -> str:
        return f"the process for candidates ended {death.how} before the first; see {self._log}"

    @property
    def _log(self) -> Path:
        return self._folder.with_suffix(".log")


def _start(*arguments: Any) -> ForkServerProcess:
    """Starts a process that runs `serve`.

    Raises:
        RunError: The fork server, which is replaced when it ends, ends every time before it has started the process.
    """
    for _ in range(_STARTS):
        process = _CONTEXT.Process(target=serve, args=arguments, daemon=True)
        resource_tracker.ensure_running()  # before the block, since starting it unblocks the signals
        with signals_blocked():
            forkserver.ensure_running()
        try:
            process.start()
        except (EOFError, ConnectionError):
            time.sleep(_RESTART_S)  # a fork server that is about to end still counts as running
            continue
        return process
    raise RunError(
        f"executor=isolated: the fork server ended {_STARTS} times before it had made a process; for want of memory?"
    )
