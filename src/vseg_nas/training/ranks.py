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
import time
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
from vseg_nas.signals import DEAF_TO

Report = Callable[[int, int, dict[str, float]], None]
"""See `Progress` in `fitting`."""

# Seconds between looks at who is alive. Pipes that close when a process ends are open as long as its loaders live.
_GLANCE = 0.2
_GRACE = 2.0  # seconds in which the cause of a failure may overtake its consequences in other ranks
_LINGER = 20.0  # seconds in which a rank that gave its result may end by itself


@dataclass(frozen=True)
class Rank:
    """Which of how many processes this is.

    Attributes:
        index: from 0 on; the first one alone writes files.
        count: of processes, and of devices.
        port: of this machine, where they find each other.
    """

    index: int = 0
    count: int = 1
    port: int = 0


ALONE = Rank()
"""The only process, which trains without any other."""


def on_ranks(count: int, report: Report, target: Callable[..., Any], *args: Any) -> Any:
    """Runs ``target(rank, report, *args)`` in so many new processes.

    Args:
        count: of processes.
        report: called here with what the first of them reports.
        target: importable by its name; what it prints is shown.
        *args: picklable.

    Returns:
        What the first of them returned.

    Raises:
        UserError: one of them raised it, or was killed (`RunError`).
        RuntimeError: one of them failed otherwise; the message is its traceback.
    """
    context = multiprocessing.get_context("spawn")
    port = _free_port()
    links: list[Connection] = []
    processes: list[SpawnProcess] = []
    try:
        for index in range(count):
            ours, theirs = context.Pipe()
            rank = Rank(index, count, port)
            process = context.Process(target=_serve, args=(theirs, os.getpid(), rank, target, args))
            links.append(ours)
            processes.append(process)
            _start(process)
            theirs.close()
        result = _listen(links, processes, report)
        for process in processes:
            process.join(_LINGER)
        return result
    finally:
        for process in processes:
            _end(process)


def _start(process: SpawnProcess) -> None:
    """Starts a process that signals to the whole job, such as Ctrl-C, do not reach: this one ends it."""
    # Python's own helper, started along, clears away what killed loader processes leave: no need to tell of it.
    os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
    before = signal.pthread_sigmask(signal.SIG_BLOCK, DEAF_TO)
    try:
        process.start()
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


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
        wait([links[index] for index in busy], _GLANCE)
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
            until = working_s() + _GRACE
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
    status = process.exitcode or 0
    how = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
    return RunError(
        f"gpu.devices: process {index + 1} of {len(processes)} ended {how}, perhaps for want of memory; "
        "resume= goes on from the last stored epoch"
    )


def _serve(link: Connection, parent: int, rank: Rank, target: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """The life of a rank."""
    os.setpgrp()  # with its loader processes, to be ended together
    threading.Thread(target=_follow_parent, args=(parent,), daemon=True).start()
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


def _follow_parent(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(_GLANCE)
    os.killpg(0, signal.SIGKILL)
