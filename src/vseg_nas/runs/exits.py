"""How a command ends: with status 2 and one line on stderr for the user's mistakes, after a signal with its status.

Our own bugs keep their traceback.
"""

import errno
from typing import NoReturn

from vseg_nas.errors import UserError, one_line, shortage
from vseg_nas.runs.signals import INTERRUPTED, PIPE_CLOSED, Terminated
from vseg_nas.runs.streams import lost_output, say

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS)
_UNUSABLE = (errno.EACCES, errno.ENAMETOOLONG, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.EIO)


class OneLineErrors:
    """Context manager that turns the user's mistakes and signals into one line and an exit status.

    Args:
        debug: Whether the user's mistakes keep their traceback.
    """

    def __init__(self, debug: bool) -> None:
        self._debug = debug

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        lost = lost_output(error)
        if isinstance(error, KeyboardInterrupt):
            _exit("interrupted", INTERRUPTED)
        if isinstance(error, Terminated):
            _exit(f"terminated by {error}", error.status)
        if lost is not None and isinstance(error, OSError | SystemExit | None):
            gone = isinstance(lost, BrokenPipeError)
            _exit(f"standard output: cannot be written ({lost.strerror})", PIPE_CLOSED if gone else 2)
        line = fault_line(error)
        if line is not None and not self._debug:
            _exit(line, 2)


def fault_line(error: BaseException | None) -> str | None:
    """Returns the line to print for an error that is the user's or the machine's fault; None for any other error."""
    if isinstance(error, UserError):
        return one_line(str(error))
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return one_line(f"{error.filename or 'a file'}: cannot be written ({error.strerror})")
    if isinstance(error, OSError) and error.errno in _UNUSABLE:
        return one_line(f"{str(error.filename or 'a file')[:80]}: cannot be used ({error.strerror})")
    return shortage(error)


def _exit(message: str, status: int) -> NoReturn:
    say(f"error: {one_line(message)}")
    raise SystemExit(status)
