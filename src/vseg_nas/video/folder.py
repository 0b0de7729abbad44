"""Frames that are image files: all of a folder, or those that a pattern matches, in the order of their names."""

import os
import re
from collections.abc import Iterator
from fractions import Fraction
from glob import glob
from pathlib import Path

import numpy as np
from PIL import Image as PillowImage

from vseg_nas.errors import DataError
from vseg_nas.video.frames import Frame

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def is_pattern(source: str) -> bool:
    """Whether a source names files by ``*``, ``?`` or ``[``."""
    return any(sign in source for sign in "*?[")


def is_image(path: str | Path) -> bool:
    """Whether it is a file with the suffix of an image."""
    return str(path).lower().endswith(SUFFIXES) and os.path.isfile(path)


def frame_files(source: str) -> list[Path]:
    """The image files of a folder or a pattern, or one alone; numbers in their names are counted as numbers.

    Raises:
        DataError: there are none.
    """
    folder = Path(source)
    found = list(folder.iterdir()) if folder.is_dir() else _matches(source)
    files = [path for path in found if is_image(path)]
    if not files:
        where = "in it" if folder.is_dir() else "that matches"
        raise DataError(f"source: {source}: found no image {where}, expected frames as {', '.join(SUFFIXES)}")
    return sorted(files, key=lambda path: (str(path.parent), _natural(path.name)))


def split_pattern(source: str) -> tuple[Path, str]:
    """The folder that a pattern looks in, and the rest: a folder that exists is none of its wildcards."""
    parts = Path(source).parts
    count = 0
    while count < len(parts) - 1 and (not is_pattern(parts[count]) or os.path.isdir(Path(*parts[: count + 1]))):
        count += 1
    return Path(*parts[:count]), "/".join(parts[count:])


def _matches(source: str) -> list[Path]:
    if os.path.exists(source):
        return [Path(source)]
    folder, rest = split_pattern(source)
    return [folder / name for name in glob(rest, root_dir=folder, recursive=True)]


def _natural(name: str) -> list[tuple[int, str]]:
    """frame_10 after frame_9."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


class FrameFolder:
    """A `FrameSource` over image files; one that is damaged or of another size than the first is skipped.

    Args:
        source: a folder or a pattern.
        rate: frames a second, which image files do not say.

    Raises:
        DataError: no image can be read.
    """

    endless = False
    pixel_aspect = Fraction(1)

    def __init__(self, source: str, rate: float) -> None:
        self.rate = Fraction(rate).limit_denominator(1001)
        self.time_base = 1 / self.rate
        self.skipped = 0
        self.complaint = ""
        self._files = frame_files(source)
        self.total: int | None = len(self._files)
        self.size = self._first_size(source)

    def _first_size(self, source: str) -> tuple[int, int]:
        for path in self._files:
            try:
                with PillowImage.open(path) as image:
                    image.load()
                    return image.height, image.width
            except (OSError, SyntaxError, ValueError):
                continue
        raise DataError(f"source: {source}: found {len(self._files)} image files, none of them readable")

    def __iter__(self) -> Iterator[Frame]:
        for index, path in enumerate(self._files):
            try:
                with PillowImage.open(path) as opened:
                    image = np.asarray(opened.convert("RGB"))
            except (OSError, SyntaxError, ValueError) as error:  # what Pillow raises depends on the byte that was hit
                self._skip(f"{path}: damaged ({type(error).__name__})")
                continue
            if image.shape[:2] != self.size:
                height, width = self.size
                self._skip(f"{path}: found {image.shape[1]}x{image.shape[0]} pixels, expected {width}x{height}")
                continue
            yield Frame(image, index * self.time_base, path.stem)

    def _skip(self, why: str) -> None:
        self.skipped += 1
        self.complaint = self.complaint or why

    def close(self) -> None:
        """Nothing stays open."""
