"""Folders for temporary files that outlive their process, where that is killed, only until the next one is made."""

import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from vseg_nas.errors import RunError
from vseg_nas.nas.lock import RunLock

_MARK = ".scratch"
"""A file in each of them: a run directory has a lock, too, and may be called anything."""


@contextmanager
def scratch(prefix: str, root: str | None = None) -> Iterator[Path]:
    """A new folder, removed in the end; those of this prefix are removed first whose processes have ended without that.

    Args:
        prefix: of its name.
        root: where to make it; None: in the machine's folder for temporary files.
    """
    parent = Path(root or tempfile.gettempdir())
    _remove_left(parent, prefix)
    unlocked = Path(tempfile.mkdtemp(prefix=f".{prefix}", dir=parent))  # of another name: nobody takes it for left
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
        with suppress(RunError, OSError):  # held by its process, gone by now, or where nothing can be locked
            if _is_ours(folder):
                with RunLock(folder):
                    shutil.rmtree(folder, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    """Whether this user has made it on this machine, which may not know the locks of others on a shared disk."""
    return folder.lstat().st_uid == os.getuid() and (folder / _MARK).read_text() == socket.gethostname()
