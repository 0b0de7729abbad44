"""Standard streams that are closed, full or without a reader: their output is lost, the exit status stays right."""

import errno
import os
import select
import sys
from contextlib import suppress
from io import TextIOWrapper
from typing import TextIO


def open_missing_streams() -> None:
    """Opens /dev/null for each standard stream that the process was started without.

    Otherwise the next file to be opened would take the number of the stream, and receive what libraries write there.
    Standard output is also made to escape characters that its encoding lacks, as standard error does: a file name in
    another script must not end a command.
    """
    for number in range(3):
        try:
            os.fstat(number)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)  # takes the lowest free number, which is this one
    for number, name in enumerate(("stdin", "stdout", "stderr")):
        if getattr(sys, name) is None:
            setattr(sys, name, open(number, "r" if name == "stdin" else "w", closefd=False))  # noqa: SIM115
    if isinstance(sys.stdout, TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")


def lost_output(error: BaseException | None) -> OSError | None:
    """Returns the error because of which standard output cannot be written; None if it can.

    Buffered output that cannot be written is dropped: Python would otherwise complain about it when it exits.

    Args:
        error: The error that ends the command; None if it succeeded. Where the reader of a pipe has gone, Rich raises
            a SystemExit whose context is the BrokenPipeError.
    """
    if isinstance(error, SystemExit) and isinstance(error.__context__, BrokenPipeError):
        return error.__context__
    unwritten = _flush(sys.stdout)
    return _write_error(1) if unwritten is None and isinstance(error, OSError) else unwritten


def _write_error(descriptor: int) -> OSError | None:
    """Returns the error that writing to a descriptor would raise, without writing anything; None if it would work."""
    try:
        os.write(descriptor, b"")
    except OSError as error:
        return error
    polling = select.poll()
    polling.register(descriptor, 0)
    gone = any(events & select.POLLERR for _, events in polling.poll(0))
    return BrokenPipeError(errno.EPIPE, os.strerror(errno.EPIPE)) if gone else None


def say(line: str) -> None:
    """Writes a line to standard error; where that is not possible, the line is lost."""
    with suppress(OSError):
        sys.stderr.write(f"{line}\n")
    _flush(sys.stderr)


def _flush(stream: TextIO) -> OSError | None:
    """Flushes a stream; if that fails, returns the error and sends everything that is still buffered to /dev/null."""
    try:
        stream.flush()
    except OSError as error:
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)
        return error
    return None
