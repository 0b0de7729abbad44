"""The worker's side of `Supervisor`: a process that evaluates one candidate after the other, and its messages.

The parent sends `Task`s through a pipe; the worker answers with the messages below.
"""

import os
import pickle
import resource
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from vseg_nas.errors import RunError, UserError
from vseg_nas.nas.executors.executor import Died, Failure
from vseg_nas.nas.executors.serial import SerialExecutor, device_is_lost
from vseg_nas.nas.pruners import NoPruner, Pruner
from vseg_nas.nas.trial import Evaluation, Evaluator, Trial
from vseg_nas.runs.processes import clear_slurm_env, die_with_parent, ignore_signals

GIB = 1024**3


class EvaluatorFactory(Protocol):
    """Builds the evaluator in a worker; picklable."""

    def __call__(self, pruner: Pruner, root_dir: Path) -> Evaluator:
        """Builds the evaluator.

        Args:
            pruner: Pruner that the evaluator asks.
            root_dir: Empty folder that is the worker's own.
        """
        ...


class Task(NamedTuple):
    """A trial to evaluate, and the pruner in its state at the start of the trial."""

    trial: Trial
    pruner: Pruner


class Ready(NamedTuple):
    """The evaluator has been built."""


class Epoch(NamedTuple):
    """See `Progress`."""

    epoch: int
    epochs: int
    score: float | None


class Ended(NamedTuple):
    """The result of the trial, and whether this process can take another one."""

    result: Evaluation | Failure | Died
    is_usable: bool


class FatalError(NamedTuple):
    """An error that ends the search."""

    error: UserError | OSError


class CacheMiss(NamedTuple):
    """The factory has not found a file on this machine."""

    error: UserError | OSError


Message = Ready | Epoch | Ended | FatalError | CacheMiss


class RemotePruner(NoPruner):
    """Forwards to the pruner of the current task, which is a copy of the search's pruner."""

    pruner: Pruner

    def should_prune(self, score: float) -> bool:
        """See `Pruner`."""
        return self.pruner.should_prune(score)


def serve(pipe: Connection, factory: bytes, folder: Path, log: Path, memory_gib: float | None) -> None:
    """Evaluates the tasks from the pipe until the parent closes it: the main function of an isolated worker.

    Args:
        pipe: Connection to the parent.
        factory: A pickled `EvaluatorFactory`.
        folder: Folder for the evaluator.
        log: File to which all output of the process is appended.
        memory_gib: Limit of the process's data in GiB; None means no limit.
    """
    ignore_signals()
    clear_slurm_env()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)
    die_with_parent()
    pruner = RemotePruner()
    try:
        evaluator = build(factory, pruner, folder)
        _limit_memory(memory_gib)  # after the evaluator, so that an error can name what that holds
        pipe.send(Ready())
        evaluate(pipe, evaluator, pruner)
    except (UserError, OSError) as error:
        with suppress(OSError):  # the pipe itself
            pipe.send(FatalError(portable(error)))


def build(factory: bytes, pruner: Pruner, folder: Path, *arrays: Any) -> Evaluator:
    """Builds the evaluator of a pickled `EvaluatorFactory`.

    Raises:
        RunError: The factory has raised an error other than `UserError` and `OSError`.
    """
    try:
        return pickle.loads(factory)(pruner, folder, *arrays)  # type: ignore[no-any-return]
    except (UserError, OSError):
        raise
    except Exception as error:
        raise RunError(f"the evaluator cannot be built in its own process: {error!r}") from error


def _limit_memory(gib: float | None) -> None:
    if gib is None:
        return
    held = _data_bytes() / GIB
    if held >= gib:
        raise RunError(
            f"executor.memory_gib: found {gib:g}, expected more than {held:.2f}, which the process needs itself"
        )
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    resource.setrlimit(resource.RLIMIT_DATA, (int(gib * GIB), hard))


def _data_bytes() -> int:
    """Returns the private writable memory of this process in bytes, which RLIMIT_DATA limits."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


def evaluate(pipe: Connection, evaluator: Evaluator, pruner: RemotePruner) -> None:
    """Evaluates the tasks from the pipe until it is closed or the device is lost."""

    def on_epoch(trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
        pipe.send(Epoch(epoch, epochs, score))

    executor = SerialExecutor(evaluator)
    with executor.session(on_epoch), suppress(EOFError):  # raised by recv: the parent has closed its end
        is_usable = True
        while is_usable:
            task: Task = pipe.recv()
            pruner.pruner = task.pruner
            executor.submit(task.trial)
            ((_, result),) = executor.wait()
            is_usable = not device_is_lost()
            pipe.send(Ended(result, is_usable))


def portable(error: UserError | OSError) -> UserError | OSError:
    """Returns an error without causes and attributes that might not be picklable."""
    if isinstance(error, UserError):
        return type(error)(str(error))
    return OSError(str(error)) if error.errno is None else OSError(error.errno, error.strerror, error.filename)
