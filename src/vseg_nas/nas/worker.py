"""The child process of `IsolatedExecutor`: evaluates one candidate after the other, and asks and tells the parent.

Down the pipe come trials and answers of the stopping rule, up go the messages below.
"""

import os
import pickle
import resource
import signal
import threading
from collections.abc import Iterator
from contextlib import suppress
from multiprocessing import connection, parent_process
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from vseg_nas.errors import RunError, UserError
from vseg_nas.nas.executor import Died, Failure, SerialExecutor, device_is_lost
from vseg_nas.nas.stopping import NeverStop, StoppingRule
from vseg_nas.nas.trial import Evaluation, Evaluator, Trial
from vseg_nas.signals import DEAF_TO

GIB = 1024**3


class Recipe(Protocol):
    """How to build an evaluator in the child; picklable."""

    def __call__(self, stopping: StoppingRule, root_dir: Path) -> Evaluator:
        """Builds it.

        Args:
            stopping: for the evaluator to ask.
            root_dir: an empty folder, the child's own.
        """
        ...


class Ready(NamedTuple):
    """The evaluator is built."""


class Epoch(NamedTuple):
    """See `Progress`."""

    epoch: int
    epochs: int
    score: float | None


class Question(NamedTuple):
    """May a cell with this half-way score go on? A bool has to come back."""

    score: float


class Ended(NamedTuple):
    """What came of the trial, and whether another one can follow in this process."""

    result: Evaluation | Failure | Died
    usable: bool


class Broken(NamedTuple):
    """What ends the search."""

    error: UserError | OSError


Message = Ready | Epoch | Question | Ended | Broken


def serve(pipe: Connection, recipe: bytes, folder: Path, log: Path, memory_gib: float | None) -> None:
    """Evaluates what comes down the pipe until nothing more comes.

    Args:
        pipe: to the parent.
        recipe: a pickled `Recipe`.
        folder: for the evaluator.
        log: what the process would write on the terminal is added to this file.
        memory_gib: limit of the process's data; None: no limit.
    """
    _settle(log)
    _die_with_parent()
    try:
        evaluator = build(recipe, _AskParent(pipe), folder)
        _limit_memory(memory_gib)
        pipe.send(Ready())
        evaluate(pipe, evaluator)
    except (UserError, OSError) as error:
        with suppress(OSError):  # the pipe itself
            pipe.send(Broken(portable(error)))


def _settle(log: Path) -> None:
    for number in DEAF_TO:
        signal.signal(number, signal.SIG_IGN)
    forget_slurm()
    output = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    for stream in (1, 2):
        os.dup2(output, stream)
    os.close(output)


def forget_slurm() -> None:
    """Removes its variables: Lightning would act on them, and a candidate is no job of Slurm's."""
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        del os.environ[name]


def _die_with_parent() -> None:
    """Not PR_SET_PDEATHSIG: the fork server, not the parent, is the parent in the sense of the kernel."""
    parent = parent_process()
    assert parent is not None

    def watch() -> None:
        connection.wait([parent.sentinel])
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def build(recipe: bytes, stopping: StoppingRule, folder: Path, *arrays: Any) -> Evaluator:
    """The evaluator of a pickled `Recipe`.

    Raises:
        RunError: the recipe has raised what is neither `UserError` nor `OSError`.
    """
    try:
        return pickle.loads(recipe)(stopping, folder, *arrays)  # type: ignore[no-any-return]
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
    """What RLIMIT_DATA counts: private writable memory."""
    for line in Path("/proc/self/status").read_text(encoding="utf-8").splitlines():
        if line.startswith("VmData:"):
            return int(line.split()[1]) * 1024
    return 0


def evaluate(pipe: Connection, evaluator: Evaluator) -> None:
    """Evaluates trials that come down the pipe, until none comes or the device is lost."""

    def report(trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
        pipe.send(Epoch(epoch, epochs, score))

    for _, result in SerialExecutor(evaluator).run(_trials(pipe), report):
        usable = not device_is_lost()
        pipe.send(Ended(result, usable))
        if not usable:
            return


def _trials(pipe: Connection) -> Iterator[Trial]:
    with suppress(EOFError):  # the parent has closed its end
        while True:
            trial: Trial = pipe.recv()
            yield trial


class _AskParent(NeverStop):
    """The stopping rule of the parent."""

    def __init__(self, pipe: Connection) -> None:
        self._pipe = pipe

    def keep_going(self, score: float) -> bool:
        """See `StoppingRule`."""
        self._pipe.send(Question(score))
        answer: bool = self._pipe.recv()
        return answer


def portable(error: UserError | OSError) -> UserError | OSError:
    """The error without causes and attributes that might not be picklable."""
    if isinstance(error, UserError):
        return type(error)(str(error))
    return OSError(str(error)) if error.errno is None else OSError(error.errno, error.strerror, error.filename)
