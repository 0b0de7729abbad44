"""One writer per run directory. This module loads no torch: a command takes the lock before it imports torch."""

import fcntl
import os
import re
import socket
from pathlib import Path
from types import TracebackType
from typing import Self

from vseg_nas.errors import RunError
from vseg_nas.runs.files import open_regular

_HOLDER = re.compile(rb"(process [^\n]{0,300}\n?)?")
"""The only content that a lock may have. A file ``lock`` with other content is the user's and is not overwritten."""


class RunLock:
    """Context manager that holds ``lock`` in a run directory by `flock`; the kernel frees it however the process ends.

    The file itself stays: if it were removed, two processes could lock two files of the same name.

    Args:
        run: An existing run directory.

    Raises:
        RunError: On entry, if another process, or this one elsewhere, holds the lock, or if ``lock`` is another file.
    """

    def __init__(self, run: Path) -> None:
        self._path = run / "lock"
        self._fd: int | None = None
        # A forked data-loading worker shares the lock; if its parent were killed, it would hold the lock for seconds.
        os.register_at_fork(after_in_child=self._close)

    def __enter__(self) -> Self:
        try:
            fd = open_regular(self._path, os.O_RDWR | os.O_CREAT)
        except OSError as error:
            raise RunError(f"{self._path}: cannot be created ({error.strerror})") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(fd, 200).decode(errors="replace").strip() or "another process"
            os.close(fd)
            raise RunError(f"{self._path.parent}: in use by {holder}; a run has one writer at a time") from None
        if not _HOLDER.fullmatch(os.pread(fd, 512, 0)):
            os.close(fd)
            raise RunError(f"{self._path}: found something else, expected the lock of a run; move that file away")
        text = f"process {os.getpid()} on {socket.gethostname()}\n".encode()
        os.ftruncate(fd, os.pwrite(fd, text, 0))  # write, then cut: a lock that was used before is never empty
        self._fd = fd
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()

    def _close(self) -> None:
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None
