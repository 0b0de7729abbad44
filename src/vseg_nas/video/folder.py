"""Frames that are image files: all of a folder, or those that a pattern matches, in the order of their names."""

import re
from collections.abc import Iterator
from fractions import Fraction
from glob import glob
from pathlib import Path

from vseg_nas.errors import DataError
from vseg_nas.pictures import read_rgb
from vseg_nas.video.frames import Frame

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp")


def is_pattern(source: str) -> bool:
    """Whether a source names files by ``*``, ``?`` or ``[``."""
    return any(sign in source for sign in "*?[")


def frame_files(source: str) -> list[Path]:
    """The image files of a folder or a pattern, numbers in their names counted as numbers.

    Raises:
        DataError: there are none.
    """
    folder = Path(source)
    found = list(folder.iterdir()) if folder.is_dir() else [Path(path) for path in glob(source, recursive=True)]
    files = [path for path in found if path.suffix.lower() in SUFFIXES and path.is_file()]
    if not files:
        where = "in it" if folder.is_dir() else "that matches"
        raise DataError(f"source: {source}: found no image {where}, expected frames as {', '.join(SUFFIXES)}")
    return sorted(files, key=lambda path: (str(path.parent), _natural(path.name)))


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

    def __init__(self, source: str, rate: float) -> None:
        self.rate = Fraction(rate).limit_denominator(1001)
        self.time_base = 1 / self.rate
        self.skipped = 0
        self.complaint = ""
        self._files = frame_files(source)
        self.total: int | None = len(self._files)
        self.size = self._first_size(source)

    def _first_size(self, source: str) -> tuple[int, int]:
        complaint = ""
        for path in self._files:
            try:
                height, width, _ = read_rgb(path).shape
                return height, width
            except DataError as error:
                complaint = complaint or str(error)
        raise DataError(
            f"source: {source}: found {len(self._files)} image files, none of them usable; the first: {complaint}"
        )

    def __iter__(self) -> Iterator[Frame]:
        for index, path in enumerate(self._files):
            try:
                image = read_rgb(path)
            except DataError as error:
                self._skip(str(error))
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
