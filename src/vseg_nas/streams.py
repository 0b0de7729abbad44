"""Standard streams that are closed, full or without a reader: what is said there is lost, the exit status is not."""

import errno
import os
import select
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import TextIO


def open_missing_streams() -> None:
    """Opens /dev/null for each standard stream that the process was started without.

    Else the next file to be opened takes its number, and with it what libraries write on the stream. And standard
    output escapes what its encoding lacks, as standard error does: a name or a sign is no reason to end.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # the lowest number that is free, so this one
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if name == "stdin" else "w", closefd=False))  # noqa: SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def lost_output(error: BaseException | None) -> OSError | None:
    """Why standard output cannot be written, if so. What waits there is dropped, which else Python tells at its end.

    Args:
        error: what ends the command; Rich makes a SystemExit of a reader that has gone.
    """
    if isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError):
        return error.__context__
    unwritten = _flush(sys.stdout)
    return _refusal(1) if unwritten is None and isinstance(error, OSError) else unwritten


def _refusal(descriptor: int) -> OSError | None:
    """What a write would raise; nothing is written."""
    try:
        os.write(descriptor, b"")
    except OSError as error:
        return error
    polling = select.poll()
    polling.register(descriptor, 0)
    gone = any(events & select.POLLERR for _, events in polling.poll(0))
    return BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) if gone else None


def say(line: str) -> None:
    """Writes a line on standard error, where that is possible."""
    with suppress(OSError):
        sys.stderr.write(f"{line}\n")
    _flush(sys.stderr)


def _flush(stream: TextIO) -> OSError | None:
    try:
        stream.flush()
    except OSError as error:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)
        return error
    return None
