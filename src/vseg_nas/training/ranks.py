"""Processes that train one network together, one per device; this process starts them, receives reports and ends them.

This process is none of the ranks. It holds the terminal, the lock and the logger. It never waits in a collective
operation, so it can end all ranks at once if one of them fails or dies, or if the user interrupts. This is not the
supervision of a search's workers (`vseg_nas.nas.executors.supervisor`): ranks have neither deadlines nor replacements,
since one death ends all. This module does not import torch.
"""

from __future__ import annotations

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
from typing import TYPE_CHECKING, Any

from vseg_nas.clock import working_s
from vseg_nas.errors import RunError, UserError
from vseg_nas.runs.processes import die_with_parent, how_ended, signals_blocked

if TYPE_CHECKING:
    from vseg_nas.training.fitting import EpochReport

_POLL_S = 0.2  # time between checks which ranks live; waiting for pipes to close would wait for loader processes too
_GRACE_S = 2.0  # time in which the cause of a failure may arrive after the failures that it caused in other ranks
_JOIN_TIMEOUT_S = 20.0  # time in which a rank that has returned its result may exit by itself


@dataclass(frozen=True)
class Rank:
    """One of the processes that train together.

    Attributes:
        index: The rank, from 0 on; only rank 0 writes files.
        world_size: The number of processes, which is that of devices.
        port: The port of this machine at which the processes meet.
    """

    index: int = 0
    world_size: int = 1
    port: int = 0


SINGLE_PROCESS = Rank()
"""The rank of a process that trains without others."""


def on_ranks(world_size: int, report: EpochReport, target: Callable[..., Any], *args: Any) -> Any:
    """Runs ``target(rank, report, *args)`` in new processes, one for each rank.

    Args:
        world_size: The number of processes.
        report: Called in this process with what rank 0 reports.
        target: The function to run; it must be importable by its name.
        *args: Further arguments of the function, which must be picklable.

    Returns:
        The value that rank 0 has returned.

    Raises:
        UserError: A rank raised it, or was killed (`RunError`).
        RuntimeError: A rank failed in another way; the message is its traceback.
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
            # Python's resource tracker cleans up what killed loaders leave, so its warnings say nothing to the user.
            os.environ.setdefault("PYTHONWARNINGS", "ignore:resource_tracker")
            with signals_blocked():
                process.start()
            theirs.close()
        result = _listen(links, processes, report)
        for process in processes:
            process.join(_JOIN_TIMEOUT_S)
        return result
    finally:
        for process in processes:
            _end(process)


def _end(process: SpawnProcess) -> None:
    """Kills a process that has not ended well, and its loader processes; stored files survive a kill at any time."""
    if process.pid is not None and process.exitcode != 0:
        with suppress(ProcessLookupError, PermissionError):  # it may not have called `setpgrp` yet
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.join()


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port: int = free.getsockname()[1]
        return port


def _listen(links: list[Connection], processes: list[SpawnProcess], report: EpochReport) -> Any:
    """Passes on reports until all ranks have returned a result or one has failed."""
    results: dict[int, Any] = {}
    failures: list[Exception] = []
    until: float | None = None
    while len(results) < len(links) and (until is None or working_s() < until):
        busy = [index for index in range(len(links)) if index not in results]
        wait([links[index] for index in busy], _POLL_S)
        for index in busy:
            ended = not processes[index].is_alive()  # before reading: its last message has arrived if it has ended
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
            until = working_s() + _GRACE_S
    if failures:
        raise next((failure for failure in failures if isinstance(failure, UserError)), failures[0])
    return results[0]


def _message(link: Connection) -> tuple[str, Any] | None:
    """Returns the next message, or None if there is none yet."""
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
        "perhaps for want of memory; resume= continues from the last stored epoch"
    )


def _serve(link: Connection, rank: Rank, target: Callable[..., Any], args: tuple[Any, ...]) -> None:
    """Runs the target in a rank and sends its reports and its result."""
    os.setpgrp()  # with its loader processes, to be ended together
    die_with_parent()
    first = rank.index == 0
    if not first:
        warnings.simplefilter("ignore")  # rank 0 warns of the same

    def report(epoch: int, epochs: int, metrics: dict[str, float]) -> None:
        if first:
            link.send(("report", (epoch, epochs, metrics)))

    try:
        result = target(rank, report, *args)
        link.send(("result", result if first else None))
    except BaseException as error:  # noqa: BLE001 (every failure is sent to the parent, which raises it)
        sent = error if isinstance(error, UserError) else RuntimeError("".join(traceback.format_exception(error)))
        link.send(("failure", sent))
        threading.Event().wait()  # until it is killed: if it ended now, other ranks would fail with a lost connection
