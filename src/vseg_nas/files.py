"""Files appear whole or not at all: written beside their place, flushed to disk, then renamed; and their digests."""

import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from io import FileIO
from pathlib import Path
from typing import Any

from vseg_nas.errors import RunError


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
    partial = partial_of(path)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        if durable:
            flush(partial)
        os.replace(partial, path)
        if durable:
            flush(path.parent)
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror or error})") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)


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


def partial_of(path: Path) -> Path:
    """Where a file lies until it is whole: hidden, in the same folder, of the same suffix."""
    return path.with_name(f".{path.stem}.partial{path.suffix}")


def flush(path: Path) -> None:
    """Waits until a file, or the names in a folder, are on disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's content, in hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def printable(text: str) -> str:
    """A text in which what UTF-8 cannot hold, such as stray bytes of file names, is escaped by a backslash."""
    return text.encode(errors="backslashreplace").decode()


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
