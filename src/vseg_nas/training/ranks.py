"""Processes that train one network together, one a device; this one starts them, listens and ends them all.

None of them is this process: it holds the terminal, the lock and the logger, is never inside a collective operation,
and so can end the others at once when one of them fails, dies or the user wants it. No torch here: what a rank needs
it imports.
"""

import multiprocessing
import os
import signal
import socket
import threading
import traceback
import warnings
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from typing import Any

from vseg_nas.clock import working_s
from vseg_nas.errors import RunError, UserError
from vseg_nas.processes import die_with_parent, how_ended, signals_blocked

Report = Callable[[int, int, dict[str, float]], None]
"""See `Progress` in `fitting`."""

POLL_S = 0.2
"""Seconds between looks at who is alive: the pipe of a rank that has ended stays open as long as its loaders live."""
GRACE_S = 2.0
"""Seconds in which the cause of a failure may overtake its consequences in other ranks."""
JOIN_TIMEOUT_S = 20.0
"""Seconds in which a rank that gave its result may end by itself."""


@dataclass(frozen=True)
class Rank:
    """Which of the processes that train together this one is.

    Attributes:
        index: Number of this process, from 0 on; process 0 alone writes files.
        world_size: Number of processes, and of devices.
        port: Port of this machine at which they find each other.
    """

    index: int = 0
    world_size: int = 1
    port: int = 0


SINGLE_PROCESS = Rank()
"""The only process, which trains without any other."""


def on_ranks(world_size: int, report: Report, target: Callable[..., Any], *args: Any) -> Any:
    """Runs ``target(rank, report, *args)`` in new processes.

    Args:
        world_size: Number of processes.
        report: Function of this process that is called with what process 0 reports.
        target: Function to run, which the processes import by its name; what it prints is shown.
        *args: Picklable arguments of the function.

    Returns:
        What process 0 returned.

    Raises:
        UserError: One of them raised it, or was killed (`RunError`).
        RuntimeError: One of them failed otherwise; the message is its traceback.
    """
    context = multiprocessing.get_context("spawn")
    port = _free_port()
    links: list[Connection] = []
    processes: list[SpawnProcess] = []
    try:
        for index in range(world_size):
            ours, theirs = context.Pipe()
            rank = Rank(index, world_size, port)
            process = context.Process(target=_serve, args=(theirs, rank, target, args))
            links.append(ours)
            processes.append(process)
            # Python's own helper, started along, clears away what killed loaders leave: no need to tell of it.
            os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
            with signals_blocked():
                process.start()
            theirs.close()
        result = _listen(links, processes, report)
        for process in processes:
            process.join(JOIN_TIMEOUT_S)
        return result
    finally:
        for process in processes:
            _end(process)


def _end(process: SpawnProcess) -> None:
    """Kills a process that has not ended well, and the loader processes that it may have: nothing stored minds."""
    if process.pid is not None and process.exitcode != 0:
        with suppress(ProcessLookupError, PermissionError):  # it may not have come to `setpgrp`
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.join()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _listen(links: list[Connection], processes: list[SpawnProcess], report: Report) -> Any:
    """Passes reports on until all have given a result, or one has failed."""
    results: dict[int, Any] = {}
    failures: list[Exception] = []
    until: float | None = None
    while len(results) < len(links) and (until is None or working_s() < until):
        busy = [index for index in range(len(links)) if index not in results]
        wait([links[index] for index in busy], POLL_S)
        for index in busy:
            ended = not processes[index].is_alive()  # asked first: what it said before it ended is there by now
            match _message(links[index]):
                case "report", arguments:
                    report(*arguments)
                case "result", value:
                    results[index] = value
                case "failure", error:
                    failures.append(error)
                case None if ended:
                    failures.append(_death(index, processes))
        if any(isinstance(failure, UserError) for failure in failures):
            break
        if failures and until is None:
            until = working_s() + GRACE_S
    if failures:
        raise next((failure for failure in failures if isinstance(failure, UserError)), failures[0])
    return results[0]


def _message(link: Connection) -> tuple[str, Any] | None:
    """The next one, if there is one."""
    try:
        message: tuple[str, Any] | None = link.recv() if link.poll() else None
    except (EOFError, OSError):
        return None
    return message


def _death(index: int, processes: list[SpawnProcess]) -> RunError:
    process = processes[index]
    process.join()
    return RunError(
        f"gpu.devices: process {index + 1} of {len(processes)} ended {how_ended(process.exitcode or 0)}, "
        "perhaps for want of memory; "
        "resume= goes on from the last stored epoch"
    )


def _serve(link: Connection, rank: Rank, target: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """The life of a rank."""
    os.setpgrp()  # with its loader processes, to be ended together
    die_with_parent()
    first = rank.index == 0
    if not first:
        warnings.simplefilter("ignore")  # the first one says the same

    def report(epoch: int, epochs: int, metrics: dict[str, float]) -> None:
        if first:
            link.send(("report", (epoch, epochs, metrics)))

    try:
        result = target(rank, report, *args)
        link.send(("result", result if first else None))
    except BaseException as error:  # noqa: BLE001 (is told, whatever it is)
        told = error if isinstance(error, UserError) else RuntimeError("".join(traceback.format_exception(error)))
        link.send(("failure", told))
        threading.Event().wait()  # ended from outside: a connection lost sooner would look like another's failure
