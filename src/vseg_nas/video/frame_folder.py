"""Frames from image files: all files of a folder, or those that match a pattern, in the order of their names."""

import math
import os
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from fractions import Fraction
from glob import glob
from itertools import chain, groupby
from pathlib import Path
from typing import NamedTuple

from vseg_nas.errors import DataError
from vseg_nas.pictures import SUFFIXES, Size, page_sizes, read_pages
from vseg_nas.runs.digests import digest_of
from vseg_nas.runs.files import printable
from vseg_nas.video.frames import Frame

_SAME_RATE = Fraction(1, 10**9)  # relative difference up to which two rates are the same
_MOST_DIGITS = 8  # of numerator and denominator, which MP4 stores in 32 bits
_LONGEST_NAME = 200
"""Longest name of a file or folder in bytes: file systems allow 255, and our files have longer suffixes."""


class _SourcePicture(NamedTuple):
    """One picture of an image file.

    Attributes:
        path: The path of the file.
        page: The number of the picture in the file, from 0 on.
        size: Height and width in pixels; None if the header cannot be read.
        stacked: Whether the file holds several pictures.
    """

    path: Path
    page: int
    size: Size | None
    stacked: bool

    @property
    def sequence(self) -> str:
        """The name of the sequence: the pages of a stack are one, and the single pictures of a folder are one."""
        return str(self.path if self.stacked else self.path.parent)

    def __str__(self) -> str:
        """Returns the path, and the page of a stack, for error messages."""
        return f"{self.path}, page {self.page} from 0 on" if self.stacked else str(self.path)


def as_fraction(rate: float) -> Fraction:
    """Returns the simplest fraction for a rate of 0.0001 to 1000: 25/2 for 12.5, 24000/1001 for 23.976023976.

    Its numerator and denominator are small enough for the time base of a video.
    """
    exact = Fraction(repr(rate))
    simple = [exact.limit_denominator(10**digits // math.ceil(rate)) for digits in range(3, _MOST_DIGITS + 1)]
    return next((fraction for fraction in simple if abs(fraction / exact - 1) <= _SAME_RATE), simple[-1])


def is_pattern(source: str) -> bool:
    """Returns whether a source is a pattern, with ``*``, ``?`` or ``[``."""
    return any(sign in source for sign in "*?[")


def is_image(path: str | Path) -> bool:
    """Returns whether a path is a file with the suffix of an image."""
    return str(path).lower().endswith(SUFFIXES) and os.path.isfile(path)


def frame_files(source: str) -> list[Path]:
    """Finds the image files of a folder or a pattern, or a single file. Numbers in names are sorted as numbers.

    Hidden files do not count, as with the wildcards of a shell, unless the pattern itself has a leading dot.

    Raises:
        DataError: There is no image, or the pattern leaves the folders that it matches.
    """
    folder = Path(source)
    try:
        if folder.is_dir():
            found = {path for path in folder.iterdir() if not path.name.startswith(".")}
        else:
            found = _matches(source)
    except OSError as error:
        raise DataError(f"source: {source}: cannot be read ({error.strerror}), expected a folder of frames") from error
    files = [path for path in found if is_image(path)]
    if not files:
        where = "in it" if folder.is_dir() else "that matches"
        raise DataError(f"source: {source}: found no image {where}, expected frames as {', '.join(SUFFIXES)}")
    root = _root(source)
    if any(".." in path.relative_to(root).parts for path in files):
        raise DataError(f"source: {source}: found .. after a wildcard, expected it before the first one")
    return sorted(files, key=_order)


def _root(source: str) -> Path:
    """Returns the folder to which names are relative: the source itself, or the part of a pattern before wildcards."""
    path = Path(source)
    return path if path.is_dir() else split_pattern(source)[0]


def _order(path: Path) -> tuple[object, ...]:
    """Returns the sort key of a path: frame_10 comes after frame_9, for folders too.

    The spelling of the folder decides between folders such as 1 and 01, so that their files are not interleaved.
    """
    parent = path.parent
    return [_natural(part) for part in parent.parts], str(parent), _natural(path.name), path.name


def split_pattern(source: str) -> tuple[Path, str]:
    """Splits a pattern into the folder that it searches and the rest.

    A folder that exists belongs to the first part, even if its name has characters of a wildcard.
    """
    parts = Path(source).parts
    count = 0
    while count < len(parts) - 1 and (not is_pattern(parts[count]) or os.path.isdir(Path(*parts[: count + 1]))):
        count += 1
    return Path(*parts[:count]), "/".join(parts[count:])


def _matches(source: str) -> set[Path]:
    if os.path.exists(source):
        return {Path(source)}
    folder, rest = split_pattern(source)
    return {folder / name for name in glob(rest, root_dir=folder, recursive=True)}


def _natural(name: str) -> list[tuple[int, str]]:
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _names(pictures: Sequence[_SourcePicture], root: Path) -> list[str]:
    """Returns unique names of all pictures, which can also be names of files: paths from `root`.

    The suffix is left out if the name is unique without it.

    Raises:
        DataError: Two frames would have the same name.
    """
    paths = {picture.path: picture.path.relative_to(root) for picture in pictures}
    stems = {path: relative.with_name(relative.stem) for path, relative in paths.items()}
    often = Counter(str(stem).casefold() for stem in stems.values())
    short = {path: stem if often[str(stem).casefold()] == 1 else paths[path] for path, stem in stems.items()}
    for chosen in (short, paths):
        names = [_storable(chosen[picture.path], picture.page if picture.stacked else None) for picture in pictures]
        folders = {str(folder) for name in names for folder in Path(name).parents}
        if len(set(names)) == len(names) and not folders & {f"{name}.png" for name in names}:
            return names
    raise DataError(f"source: found frames in {root} whose names cannot be told apart, expected other folder names")


def _storable(path: Path, page: int | None) -> str:
    parts = [_shortened(part) for part in path.parts]
    return "/".join(parts if page is None else [*parts, f"{page:06}"])


def _shortened(name: str) -> str:
    content = os.fsencode(name)
    if len(content) <= _LONGEST_NAME:
        return name
    return f"{content[:_LONGEST_NAME].decode(errors='ignore')}~{digest_of(content)[:8]}"


class FrameFolder:
    """A `FrameSource` over image files.

    Every page of a stack (TIFF, animated PNG or WebP) is a frame. A frame is skipped if it is damaged or has another
    size than most frames.

    Args:
        source: A folder, a pattern or a file.
        rate: Frames per second, which image files do not store.

    Raises:
        DataError: No image can be read.
    """

    endless = False
    pixel_aspect = Fraction(1)

    def __init__(self, source: str, rate: float) -> None:
        self.rate = as_fraction(rate)
        self.time_base = 1 / self.rate
        self.skipped = 0
        self.first_error = ""
        files = frame_files(source)
        self._pictures = [
            _SourcePicture(path, page, size, len(sizes) > 1)
            for path in files
            for sizes in [page_sizes(path)]
            for page, size in sizes.items()
        ]
        self._names = _names(self._pictures, _root(source))
        self.total: int | None = len(self._pictures)
        sizes = Counter(picture.size for picture in self._pictures if picture.size is not None)
        self.size = max(sizes, key=lambda size: sizes[size], default=(0, 0))  # of equally frequent sizes, the first
        self._decoded = self._decode()
        # The first usable frame is read now, so that a source without any is refused before anything is written.
        self._first = next(self._decoded, None)
        if self._first is None:
            raise DataError(
                f"source: {source}: found {len(files)} image files, none of them usable; the first: {self.first_error}"
            )

    def __iter__(self) -> Iterator[Frame]:
        first, self._first = self._first, None
        return self._decoded if first is None else chain([first], self._decoded)

    def _decode(self) -> Iterator[Frame]:
        for path, group in groupby(enumerate(self._pictures), key=lambda entry: entry[1].path):
            numbered = list(group)
            images = read_pages(path, [picture.page for _, picture in numbered])
            for (index, picture), image in zip(numbered, images, strict=True):
                if isinstance(image, DataError):
                    self._skip(str(image).replace(str(path), str(picture), 1))
                elif image.shape[:2] != self.size:
                    (found, expected) = (f"{width}x{height}" for height, width in (image.shape[:2], self.size))
                    self._skip(f"{picture}: found {found} pixels, expected {expected} as most")
                else:
                    yield Frame(image, index * self.time_base, self._names[index], picture.sequence)

    def _skip(self, why: str) -> None:
        self.skipped += 1
        self.first_error = self.first_error or printable(why)

    def close(self) -> None:
        """Does nothing, since no file stays open."""
