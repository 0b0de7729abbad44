"""Clips whose frames and masks are image files; every complaint about a file is one `DataError` line."""

import hashlib
import os
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from vseg_nas.data.clip import Colour, Image, RawClip
from vseg_nas.errors import DataError
from vseg_nas.labels import IGNORE

_INVALID = -1
_BROKEN_IMAGE = (
    OSError, SyntaxError, ValueError, EOFError, IndexError, struct.error, zlib.error,
    PillowImage.DecompressionBombError,
)  # fmt: skip
"""What Pillow raises for damaged files, depending on the byte that was hit."""


@dataclass(frozen=True)
class FileClip:
    """Where one clip lies: T frames, T masks (None where a frame is unlabelled), its run and place in it."""

    frames: tuple[Path, ...]
    masks: tuple[Path | None, ...]
    run: str
    frame_ids: tuple[int, ...]


class LabelTable:
    """Maps the ids stored in mask files to class ids; anything not listed is refused."""

    def __init__(self, mapping: dict[int, int], expected: str) -> None:
        self.expected = expected
        self.table: NDArray[np.int16] = np.full(256, _INVALID, np.int16)
        for stored, label in mapping.items():
            self.table[stored] = label

    def apply(self, mask: Image, path: Path) -> Image:
        """Map a mask (H, W).

        Raises:
            DataError: The mask holds an id that is not listed.
        """
        labels = self.table[mask]
        if labels.min() == _INVALID:
            found = ", ".join(map(str, np.unique(mask[labels == _INVALID])[:5]))
            raise DataError(f"{path}: found label id {found}, expected {self.expected}")
        return labels.astype(np.uint8)


class FileClips:
    """A `ClipSource` over image files of one size.

    The existence of every file is checked here, once; its content when it is read.

    Args:
        clips: Where the clips lie, in order.
        classes: Names of the classes.
        palette: Their colours.
        labels: Table that maps stored ids to class ids.
        frame_seconds: Time from a frame of a run to the next; None where it is not known.

    Raises:
        DataError: There is no clip, or a file is missing.
    """

    def __init__(
        self,
        clips: Sequence[FileClip],
        classes: tuple[str, ...],
        palette: tuple[Colour, ...],
        labels: LabelTable,
        frame_seconds: float | None,
    ) -> None:
        self.classes = classes
        self.palette = palette
        self.length = len(clips[0].frames)
        self.runs = tuple(clip.run for clip in clips)
        self.frame_ids = tuple(clip.frame_ids for clip in clips)
        self.frame_seconds = frame_seconds
        self._clips = tuple(clips)
        self._labels = labels
        self._files = sorted({path for clip in clips for path in (*clip.frames, *clip.masks) if path is not None})
        _check_presence(self._files)
        self._size = _size(clips[0].frames[0])

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> RawClip:
        clip = self._clips[index]
        return RawClip(
            tuple(_read(path, self._size, ("RGB",)) for path in clip.frames),
            tuple(self._mask(path) for path in clip.masks),
            tuple(path.stem for path in clip.frames),
        )

    def fingerprint(self) -> str:
        """SHA-256 over classes, clips, label table and the name, size and modification time of each file."""
        digest = hashlib.sha256(repr((type(self).__name__, self.classes, self._labels.table.tolist())).encode())
        for path in self._files:
            status = path.stat()
            digest.update(f"{path.parent.name}/{path.name} {status.st_size} {status.st_mtime_ns}\n".encode())
        for clip in self._clips:
            digest.update(f"{clip.run} {[path.name for path in clip.frames]}\n".encode())
        return digest.hexdigest()

    def _mask(self, path: Path | None) -> Image:
        if path is None:
            width, height = self._size
            return np.full((height, width), IGNORE, np.uint8)
        return self._labels.apply(_read(path, self._size, ("L", "P")), path)


def _check_presence(files: Sequence[Path]) -> None:
    """Look for files by listing their folders, which is far cheaper than asking for each."""
    names = {folder: set(os.listdir(folder)) if folder.is_dir() else set() for folder in {f.parent for f in files}}
    for path in files:
        if path.name not in names[path.parent]:
            raise DataError(f"{path}: file not found, expected a frame or mask of the data set")


def _read(path: Path, size: tuple[int, int], modes: tuple[str, ...]) -> Image:
    """Decode one file whose (width, height) and mode are known beforehand."""
    data = _bytes(path)
    try:
        PillowImage.open(BytesIO(data)).verify()  # decoding alone ignores the checksums of PNG files
        image = PillowImage.open(BytesIO(data))
        pixels = np.array(image)
    except _BROKEN_IMAGE as error:
        raise DataError(f"{path}: found a damaged image ({_brief(error)}), expected PNG or JPEG") from error
    if image.size != size:
        raise DataError(f"{path}: found {_times(image.size)} pixels, expected {_times(size)}")
    if image.mode not in modes:
        raise DataError(f"{path}: found image mode {image.mode}, expected {' or '.join(modes)}")
    return pixels


def _size(path: Path) -> tuple[int, int]:
    """Width and height from the header of a file."""
    try:
        return PillowImage.open(BytesIO(_bytes(path))).size
    except _BROKEN_IMAGE as error:
        raise DataError(f"{path}: found a damaged image ({_brief(error)}), expected PNG or JPEG") from error


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: found no readable file ({error.strerror}), expected PNG or JPEG") from error


def _times(size: tuple[int, int]) -> str:
    return "x".join(map(str, size))


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".splitlines()[0][:80]
