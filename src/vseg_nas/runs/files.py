"""Files that are written whole or not at all: written under another name, flushed to disk, then renamed.

Run folders may come from anybody. So only regular files are read and written in one: no symbolic link is followed,
nothing waits for a named pipe, and nobody can foresee the name of a temporary file.
"""

import errno
import fcntl
import json
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

from vseg_nas.errors import DataError, RunError


@contextmanager
def as_run_error(path: Path) -> Iterator[None]:
    """Turns an error of the system into one line that names the file that was to be written.

    The error itself may name another file, such as the temporary one.

    Raises:
        RunError: An `OSError` was raised in the block.
    """
    try:
        yield
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror or error})") from error


@contextmanager
def replacing(path: Path, durable: bool = True) -> Iterator[Path]:
    """Yields the path of a temporary file and renames that file over ``path`` at the end.

    Args:
        path: The finished file; missing folders are made.
        durable: Whether to wait for the disk. Without it, a loss of power can leave half a file, but a killed process
            cannot.

    Yields:
        The path to write to. After an error it is removed, and an older ``path`` is untouched.

    Raises:
        RunError: The disk is full, or the folder cannot be written to.
    """
    partial: Path | None = None
    descriptor: int | None = None
    try:
        with as_run_error(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if durable:  # the leftovers of the many small files that are not durable are removed by their run
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
    """A file without a buffer that writes all it is given; the system may write only a part when a disk fills up."""

    def write(self, data: Any) -> int:
        """Writes all of it.

        Raises:
            OSError: The disk is full.
        """
        rest = memoryview(data)
        while rest:
            rest = rest[super().write(rest) :]
        return len(data)


def partial_of(path: Path) -> tuple[Path, int]:
    """Makes an empty temporary file for ``path``: hidden, in the same folder, with the same suffix.

    Returns:
        The file, and a descriptor that holds a lock on it. While it is open, no process takes the file for a leftover.

    Raises:
        OSError: The file cannot be made.
    """
    while True:
        partial = path.with_name(f"{_partial_prefix(path)}{secrets.token_hex(8)}{path.suffix}")
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        descriptor = os.open(partial, flags, 0o666)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        if os.fstat(descriptor).st_nlink:
            return partial, descriptor
        os.close(descriptor)  # another process removed the file as a leftover before it was locked


def _remove_leftovers(path: Path) -> None:
    """Removes the temporary files of a path that no process holds any more."""
    for left in partials_of(path):
        try:
            descriptor = open_regular(left, os.O_RDONLY)
        except FileNotFoundError:
            continue
        except OSError:  # a link or another thing, which we never make
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
    """Returns the temporary files of a path, of living processes and of killed ones."""
    prefix, length = _partial_prefix(path), len(_partial_prefix(path)) + 16 + len(path.suffix)
    with os.scandir(path.parent) as entries:
        names = [entry.name for entry in entries if len(entry.name) == length]
    return [path.with_name(name) for name in names if name.startswith(prefix) and name.endswith(path.suffix)]


def _partial_prefix(path: Path) -> str:
    return f".{path.stem}.partial-"


def open_regular(path: Path, flags: int, follow: bool = False) -> int:
    """Opens a regular file; anything else is refused without waiting for it.

    Args:
        path: The file.
        flags: The flags of `os.open`; a new file is made if O_CREAT is among them.
        follow: Whether ``path`` may be a link. A file that the user names may be one, but none in a run folder.

    Returns:
        A file descriptor.

    Raises:
        OSError: The file cannot be opened, or it is not a regular one.
    """
    safe = os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY | (0 if follow else os.O_NOFOLLOW)
    try:
        descriptor = os.open(path, flags | safe, 0o666)
    except OSError as error:
        if error.errno == errno.ELOOP and not follow:
            raise OSError(errno.ELOOP, "found a symbolic link, expected a file", str(path)) from error
        if error.errno == errno.ENXIO:  # a pipe that nobody reads, or a socket
            raise OSError(errno.ENXIO, "found no regular file", str(path)) from error
        raise
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise OSError(errno.EINVAL, "found no regular file", str(path))
    return descriptor


def read_regular(path: Path, most: int, follow: bool = False) -> bytes:
    """Returns the content of a regular file.

    Args:
        path: The file.
        most: The number of bytes that it may have.
        follow: Whether a symbolic link is followed, as in `open_regular`.

    Raises:
        OSError: There is no such file, it cannot be read, or it has more bytes.
    """
    with os.fdopen(open_regular(path, os.O_RDONLY, follow), "rb") as file:
        content = file.read(most + 1)
    if len(content) > most:
        raise OSError(errno.EFBIG, f"found more than {most} bytes, expected at most that", str(path))
    return content


def read_if_there(path: Path, most: int, expected: str) -> bytes | None:
    """Returns the content of a file that an earlier start of a run may have left; None if there is no such file.

    Args:
        path: The file.
        most: The number of bytes that it may have.
        expected: What it should hold, for the error message.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        return read_regular(path, most)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}), expected {expected}") from error


def flush(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def printable(text: str) -> str:
    """Returns a text with backslash escapes for what UTF-8 cannot hold, such as stray bytes of file names."""
    return text.encode(errors="backslashreplace").decode()


def write_json(path: Path, data: object) -> Path:
    """Writes plain data as JSON, whole or not at all; texts are made `printable`.

    Returns:
        `path`.

    Raises:
        RunError: The file cannot be written.
        ValueError: A number is NaN or infinite.
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
    """Writes a `printable` text in UTF-8, whole or not at all; see `replacing`.

    Returns:
        `path`.
    """
    write_bytes(path, printable(text).encode())
    return path
