"""Folders for temporary files; those of a killed process are removed when the next folder is made."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vseg_nas.errors import RunError
from vseg_nas.runs.lock import RunLock

_MARK = ".scratch"
"""A file in each scratch folder. A run directory has a lock too and may have any name, but it has no such file."""


@contextmanager
def scratch(prefix: str, root: str | None = None) -> Iterator[Path]:
    """Yields a new folder and removes it at the end.

    Folders of the same prefix that a killed process has left are removed first.

    Args:
        prefix: The beginning of the name of the folder.
        root: The folder to make it in; None means the machine's folder for temporary files.
    """
    parent = Path(root or tempfile.gettempdir())
    _remove_left(parent, prefix)
    unlocked = Path(tempfile.mkdtemp(prefix=f".{prefix}", dir=parent))  # nobody removes a hidden one
    folder = parent / unlocked.name[1:]
    try:
        (unlocked / _MARK).write_text(socket.gethostname())
        with RunLock(unlocked):
            unlocked.rename(folder)
            yield folder
    finally:
        for path in (folder, unlocked):
            shutil.rmtree(path, ignore_errors=True)


def _remove_left(parent: Path, prefix: str) -> None:
    for folder in parent.glob(f"{prefix}*"):
        with suppress(RunError, OSError):  # its process lives, it has gone, or nothing can be locked here
            if _is_ours(folder):
                with RunLock(folder):
                    shutil.rmtree(folder, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    """Returns whether this user has made a folder on this machine.

    On a shared disk, this machine may not know the locks of processes of other machines.
    """
    return folder.lstat().st_uid == os.getuid() and (folder / _MARK).read_text() == socket.gethostname()
