"""Child processes of a command: signals to the whole job are the command's alone, and no child outlives it."""

import os
import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import connection, parent_process

from vseg_nas.runs.signals import IGNORED_SIGNALS


@contextmanager
def signals_blocked() -> Iterator[None]:
    """Processes that are started within never receive the signals that are sent to the whole job, such as Ctrl-C.

    The parent ends them. A blocked signal stays blocked in a new process, so there is no moment in which it could
    arrive, as there would be before the child has set handlers of its own.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, IGNORED_SIGNALS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def ignore_signals() -> None:
    """Ignores the signals that are sent to the whole job, where somebody else has started this process unblocked."""
    for number in IGNORED_SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def clear_slurm_env() -> None:
    """Removes Slurm's variables: Lightning would act on them, and a candidate is no job of Slurm's."""
    for name in [name for name in os.environ if name.startswith("SLURM_")]:
        del os.environ[name]


def die_with_parent() -> None:
    """Kills this process, with its group if it leads one, as soon as the process that started it has ended.

    A thread watches a pipe of multiprocessing's whose other end the parent holds. PR_SET_PDEATHSIG would not do: to
    the kernel, the parent of a process from a fork server is that server.
    """
    parent = parent_process()
    assert parent is not None
    leads_group = os.getpgrp() == os.getpid()

    def watch() -> None:
        connection.wait([parent.sentinel])
        if leads_group:
            os.killpg(0, signal.SIGKILL)
        os.kill(os.getpid(), signal.SIGKILL)

    threading.Thread(target=watch, daemon=True).start()


def how_ended(status: int) -> str:
    """Returns how a process ended, from its `exitcode` of multiprocessing: ``by SIGKILL`` or ``with status 3``."""
    names = {-number: number.name for number in signal.Signals}
    return f"by {names[status]}" if status in names else f"with status {status}"
