"""Clips whose frames and masks are image files; every complaint about a file is one `DataError` line.

Sizes are those of upright pictures: frames and masks whose EXIF orientation says so are turned first.
"""

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vseg_nas.data.clip import Colour, Image, RawClip
from vseg_nas.data.manifest import KnownDigests, Track
from vseg_nas.errors import DataError
from vseg_nas.labels import IGNORE
from vseg_nas.pictures import load_upright

_INVALID = -1


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


@dataclass(frozen=True)
class Layout:
    """Where a split lies on disk, before any file of it is looked at.

    Attributes:
        clips: Where the clips lie, in order; at least one.
        classes: Names of the classes.
        palette: Their colours.
        labels: Table that maps stored ids to class ids.
        frame_seconds: Time from a frame of a run to the next; None where it is not known.
    """

    clips: tuple[FileClip, ...]
    classes: tuple[str, ...]
    palette: tuple[Colour, ...]
    labels: LabelTable
    frame_seconds: float | None

    @property
    def frames(self) -> list[Path]:
        """Every frame once, sorted."""
        return sorted({path for clip in self.clips for path in clip.frames})

    @property
    def masks(self) -> list[Path]:
        """Every mask once, sorted."""
        return sorted({path for clip in self.clips for path in clip.masks if path is not None})


class FileClips:
    """A `ClipSource` over image files of one size.

    The existence of every file is checked here, once; its content when it is read.

    Args:
        layout: Where they lie.

    Raises:
        DataError: A file is missing.
    """

    def __init__(self, layout: Layout) -> None:
        clips = layout.clips
        self.classes = layout.classes
        self.palette = layout.palette
        self.length = len(clips[0].frames)
        self.runs = tuple(clip.run for clip in clips)
        self.frame_ids = tuple(clip.frame_ids for clip in clips)
        self.frame_seconds = layout.frame_seconds
        self._clips = clips
        self._labels = layout.labels
        self._files = sorted([*layout.frames, *layout.masks])
        _check_presence(self._files)
        self._size = image_size(clips[0].frames[0])
        self.known_digests = KnownDigests()

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> RawClip:
        return self.part(index, range(self.length))

    def part(self, index: int, places: Sequence[int]) -> RawClip:
        """Some frames of a clip; the others are not read."""
        clip = self._clips[index]
        return RawClip(
            tuple(read_frame(clip.frames[place], self._size) for place in places),
            tuple(self._mask(clip.masks[place]) for place in places),
            tuple(clip.frames[place].stem for place in places),
        )

    def fingerprint(self) -> str:
        """SHA-256 over classes, clips, label table and the name and content of each file, wherever they lie."""
        digest = hashlib.sha256(repr((type(self).__name__, self.classes, self._labels.table.tolist())).encode())
        for name, sha256 in self.digests().items():
            digest.update(f"{name} {sha256}\n".encode())
        for clip in self._clips:
            digest.update(f"{clip.run} {[path.name for path in clip.frames]}\n".encode())
        return digest.hexdigest()

    def digests(self, track: Track = iter) -> dict[str, str]:
        """SHA-256 of each file, by its name and that of its folder.

        Args:
            track: Shows how far reading files is.

        Raises:
            DataError: A file cannot be read.
        """
        names = (f"{path.parent.name}/{path.name}" for path in self._files)
        return dict(zip(names, self.known_digests.of(self._files, track), strict=True))

    def _mask(self, path: Path | None) -> Image:
        if path is None:
            width, height = self._size
            return np.full((height, width), IGNORE, np.uint8)
        return read_mask(path, self._size, self._labels)

    @property
    def files(self) -> Sequence[Path]:
        """Every frame and mask once, sorted."""
        return self._files


def _check_presence(files: Sequence[Path]) -> None:
    """Look for files by listing their folders, which is far cheaper than asking for each."""
    names = {folder: set(os.listdir(folder)) if folder.is_dir() else set() for folder in {f.parent for f in files}}
    for path in files:
        if path.name not in names[path.parent]:
            raise DataError(f"{path}: file not found, expected a frame or mask of the data set")


def read_frame(path: Path, size: tuple[int, int]) -> Image:
    """Decode a frame, (H, W, 3), whose (width, height) is known beforehand.

    Raises:
        DataError: It is unreadable, or of another size or mode.
    """
    return decode_frame(path, read_bytes(path), size)


def decode_frame(path: Path, data: bytes, size: tuple[int, int] | None) -> Image:
    """As `read_frame`, of bytes that were read; without a size any is right."""
    return _decode(path, data, size, ("RGB",))


def read_mask(path: Path, size: tuple[int, int], labels: LabelTable) -> Image:
    """Decode a mask, (H, W), whose (width, height) is known beforehand, to class ids.

    Raises:
        DataError: It is unreadable, of another size or mode, or holds an id that the table does not list.
    """
    return decode_mask(path, read_bytes(path), size, labels)


def decode_mask(path: Path, data: bytes, size: tuple[int, int] | None, labels: LabelTable) -> Image:
    """As `read_mask`, of bytes that were read; without a size any is right."""
    return labels.apply(_decode(path, data, size, ("L", "P")), path)


def _decode(path: Path, data: bytes, size: tuple[int, int] | None, modes: tuple[str, ...]) -> Image:
    image = load_upright(path, data, verify=True)  # decoding alone ignores the checksums of PNG files
    if size is not None and image.size != size:
        raise DataError(f"{path}: found {_times(image.size)} pixels, expected {_times(size)}")
    if image.mode not in modes:
        raise DataError(f"{path}: found image mode {image.mode}, expected {' or '.join(modes)}")
    return np.array(image)


def image_size(path: Path) -> tuple[int, int]:
    """Width and height of a picture, upright.

    Raises:
        DataError: It is unreadable.
    """
    return load_upright(path).size


def read_bytes(path: Path) -> bytes:
    """The content of a file.

    Raises:
        DataError: There is none.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: found no readable file ({error.strerror}), expected PNG or JPEG") from error


def _times(size: tuple[int, int]) -> str:
    return "x".join(map(str, size))
