"""Report files appear whole or not at all: written beside their place, then renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


def write_text(path: Path, text: str) -> Path:
    """Writes a text in UTF-8, whole or not at all.

    Returns:
        `path`.
    """
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")
    return path


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yields a hidden path of the same suffix beside `path` and renames it over `path` on success.

    Args:
        path: Where the finished file belongs; missing folders are made.

    Yields:
        The path to write to. After an error nothing of it is left and an older `path` is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f".{path.stem}.partial{path.suffix}")
    try:
        yield partial
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)
