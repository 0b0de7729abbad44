"""Folders for temporary files that outlive their process, where that is killed, only until the next one is made."""

import os
import shutil
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
    (unlocked / _MARK).touch()
    with RunLock(unlocked):
        folder = unlocked.rename(parent / unlocked.name[1:])
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def _remove_left(parent: Path, prefix: str) -> None:
    for folder in parent.glob(f"{prefix}*"):
        with suppress(RunError, FileNotFoundError):  # held by its process, or gone by now
            if _is_ours(folder):
                with RunLock(folder):
                    shutil.rmtree(folder, ignore_errors=True)


def _is_ours(folder: Path) -> bool:
    """Whether this user has made it, here: in a folder that all users share, other names lead anywhere."""
    return folder.lstat().st_uid == os.getuid() and (folder / _MARK).is_file()
