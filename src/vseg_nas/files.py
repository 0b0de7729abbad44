"""Files appear whole or not at all: written beside their place, flushed to disk, then renamed; and their digests.

A run folder may be anybody's. What is read or written in one is a regular file: no symbolic link in it is followed,
nothing waits for a named pipe, and no name that is written to can be foreseen.
"""

import errno
import fcntl
import hashlib
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

from vseg_nas.errors import RunError

_MOST_NESTED = 32  # folders inside each other; W&B needs four
_WANDB = "wandb"
_SERVICE_LOG = ("logs", "debug-core.log")  # in the folder of each run of W&B: a link to a log in the user's cache
_WRITTEN_IN_PLACE = ("lock", "log", "search.sqlite", "search.sqlite-journal")  # all others are replaced


@contextmanager
def naming(path: Path) -> Iterator[None]:
    """Makes one line of what the system refuses, with the file that is written: its own error may name another.

    Raises:
        RunError: instead of an `OSError`.
    """
    try:
        yield
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror or error})") from error


@contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yields `partial_of` a path and renames what was written there over the path.

    Args:
        path: where the finished file belongs; missing folders are made.
        durable: whether to wait for the disk; without, only a loss of power can leave less than the whole.

    Yields:
        The path to write to. After an error nothing of it is left and an older ``path`` is untouched.

    Raises:
        RunError: the disk is full, or the folder cannot be written to.
    """
    partial: Path | None = None
    descriptor: int | None = None
    try:
        with naming(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if durable:  # of the many small files that are not, their run removes what was left
                _remove_leftovers(path)
            partial, descriptor = partial_of(path)
            yield partial
            if durable:
                flush(partial)
            os.replace(partial, path)
            if durable:
                flush(path.parent)
    finally:
        with suppress(OSError):
            if partial is not None:
                partial.unlink(missing_ok=True)
        if descriptor is not None:
            os.close(descriptor)


class Unbuffered(FileIO):
    """A file whose writes are in it at once, and whole: the system may take a part of them when a disk runs full."""

    def write(self, data: Any) -> int:
        """Writes all of it.

        Raises:
            OSError: the disk is full.
        """
        rest = memoryview(data)
        while rest:
            rest = rest[super().write(rest) :]
        return len(data)


def partial_of(path: Path) -> tuple[Path, int]:
    """A new and empty file where another one lies until it is whole: hidden, in the same folder, of the same suffix.

    Returns:
        The file, and a descriptor that holds a lock on it: as long as it is open, no process takes it for a leftover.

    Raises:
        OSError: it cannot be made.
    """
    while True:
        partial = path.with_name(f"{_partial_prefix(path)}{secrets.token_hex(8)}{path.suffix}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(partial, flags, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return partial, descriptor
        os.close(descriptor)  # another process took it for a leftover before it was locked


def _remove_leftovers(path: Path) -> None:
    """Removes the partial files of a path that no process writes any more."""
    for left in partials_of(path):
        try:
            descriptor = open_regular(left, os.O_RDONLY)
        except FileNotFoundError:
            continue
        except OSError:  # a link or another thing that none of ours is
            left.unlink(missing_ok=True)
            continue
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink(missing_ok=True)
        except BlockingIOError:
            pass
        finally:
            os.close(descriptor)


def partials_of(path: Path) -> list[Path]:
    """What `partial_of` has left of a path where a process was killed."""
    prefix, length = _partial_prefix(path), len(_partial_prefix(path)) + 16 + len(path.suffix)
    with os.scandir(path.parent) as entries:
        names = [entry.name for entry in entries if len(entry.name) == length]
    return [path.with_name(name) for name in names if name.startswith(prefix) and name.endswith(path.suffix)]


def _partial_prefix(path: Path) -> str:
    return f".{path.stem}.partial-"


def open_regular(path: Path, flags: int, follow: bool = False) -> int:
    """A descriptor of a regular file, without waiting for anything else.

    Args:
        path: of the file.
        flags: of `os.open`; a new file is made with them if O_CREAT is among them.
        follow: whether ``path`` may be a symbolic link, as a file may be that a user names, and none in a run folder.

    Raises:
        OSError: it cannot be opened, or is something else.
    """
    safe = os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags | safe, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP and not follow:
            raise OSError(errno.ELOOP, "found a symbolic link, expected a file", str(path)) from error
        if error.errno == errno.ENXIO:  # of a pipe that nobody reads, or of a socket
            raise OSError(errno.ENXIO, "found no regular file", str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "found no regular file", str(path))
    return descriptor


def read_regular(path: Path, most: int, follow: bool = False) -> bytes:
    """Content of a regular file.

    Args:
        path: of the file.
        most: bytes that it may have.
        follow: see `open_regular`.

    Raises:
        OSError: there is none, it cannot be read, or it has more bytes.
    """
    with os.fdopen(open_regular(path, os.O_RDONLY, follow), "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"found more than {most} bytes, expected at most that", str(path))
    return content


def check_folder(folder: Path, to_write: bool = False) -> None:
    """Refuses a run folder in which more lies than regular files and folders; it may itself be reached by a link.

    W&B links its newest run, and the log of its service, which lies in the user's cache: links in its folder that stay
    in it are let be, and that one link in the folder of a run of its own, to which nothing is written again. Its
    settings there are not: they could name another server, which would then be sent the user's key.

    Args:
        folder: of a run; nothing is refused where there is none.
        to_write: whether it is to be written to. Then no file that is written in place may be a hard link.

    Raises:
        RunError: with the first thing found that does not belong.
    """
    wandb = folder / _WANDB
    waiting = [(folder, 0)]
    while waiting:
        current, depth = waiting.pop()
        if depth > _MOST_NESTED:
            raise RunError(f"{folder}: found folders inside folders, {depth} deep, expected at most {_MOST_NESTED}")
        try:
            with os.scandir(current) as entries:
                found = sorted(entries, key=lambda entry: entry.name)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise RunError(f"{current}: cannot be read ({error.strerror}), expected the folder of a run") from error
        for entry in found:
            path = current / entry.name
            if entry.is_dir(follow_symlinks=False):
                waiting.append((path, depth + 1))
            elif entry.is_symlink():
                stays = path != wandb and path.is_relative_to(wandb) and _real(path).is_relative_to(_real(wandb))
                is_service_log = path.parts[-2:] == _SERVICE_LOG and path.parents[2] == wandb
                if not stays and not is_service_log:
                    raise RunError(f"{path}: found a symbolic link, expected a file or folder of the run itself")
            elif not entry.is_file(follow_symlinks=False):
                raise RunError(f"{path}: found no regular file, expected files and folders alone")
            elif to_write and path.name in _WRITTEN_IN_PLACE and _names(path) > 1:
                raise RunError(f"{path}: found a hard link, expected a file of its own; copy the folder (cp -a)")
            elif path.name == "settings" and path.parent.name in (_WANDB, f".{_WANDB}"):
                raise RunError(f"{path}: found settings of W&B, expected none in a run folder")


def _names(path: Path) -> int:
    """How many names a file has; 0 where it has gone, as a file does that another process is writing."""
    try:
        return os.lstat(path).st_nlink
    except FileNotFoundError:
        return 0


def _real(path: Path) -> Path:
    """Where a path leads; unlike `Path.resolve`, links in a circle raise nothing."""
    return Path(os.path.realpath(path))


def flush(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """SHA-256 of a regular file's content, in hexadecimal.

    Raises:
        OSError: it cannot be read, or is no such file.
    """
    with os.fdopen(open_regular(path, os.O_RDONLY, follow=True), "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def printable(text: str) -> str:
    """A text in which what UTF-8 cannot hold, such as stray bytes of file names, is escaped by a backslash."""
    return text.encode(errors="backslashreplace").decode()


def write_json(path: Path, data: object) -> Path:
    """Writes plain data as JSON whose texts are `printable`, whole or not at all; see `replacing`.

    Returns:
        `path`.

    Raises:
        ValueError: a number is NaN or infinite.
    """
    return write_text(path, json.dumps(_printable(data), indent=1, allow_nan=False))


def _printable(data: object) -> object:
    if isinstance(data, str):
        return printable(data)
    if isinstance(data, dict):
        return {_printable(key): _printable(value) for key, value in data.items()}
    return [_printable(value) for value in data] if isinstance(data, list | tuple) else data


def write_bytes(path: Path, content: bytes | memoryview, durable: bool = True) -> None:
    """Writes a file, whole or not at all; see `replacing`."""
    with replacing(path, durable) as partial:
        partial.write_bytes(content)


def write_text(path: Path, text: str) -> Path:
    """Writes a text in UTF-8, `printable`, whole or not at all; see `replacing`.

    Returns:
        `path`.
    """
    write_bytes(path, printable(text).encode())
    return path
