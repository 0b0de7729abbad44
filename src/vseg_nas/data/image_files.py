"""Clips whose frames and masks are image files; every error about a file is a `DataError` of one line.

Sizes are those of upright pictures: frames and masks are first turned as their EXIF orientation says.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vseg_nas.data.clip import RawClip
from vseg_nas.data.manifest import KnownDigests, TrackFiles
from vseg_nas.errors import DataError
from vseg_nas.labels import IGNORE, Colour
from vseg_nas.pictures import Image, load_upright
from vseg_nas.runs.digests import digest_of

_INVALID = -1


@dataclass(frozen=True)
class FileClip:
    """The files of one clip.

    Attributes:
        frames: The paths of the T frames.
        masks: The paths of the T masks; None where a frame is not labelled.
        sequence: The name of the sequence that the clip was cut from.
        frame_ids: The indices of the T frames within the sequence.
    """

    frames: tuple[Path, ...]
    masks: tuple[Path | None, ...]
    sequence: str
    frame_ids: tuple[int, ...]


class LabelTable:
    """Maps the ids stored in mask files to class ids; ids that it does not list are refused.

    Args:
        mapping: Class ids by stored id.
        expected: The words of error messages for the ids that may be stored.
    """

    def __init__(self, mapping: dict[int, int], expected: str) -> None:
        self.expected = expected
        # A table of all 256 values maps a mask by indexing, and 16 bits leave room for an invalid id.
        self.table: NDArray[np.int16] = np.full(256, _INVALID, np.int16)
        for stored, label in mapping.items():
            self.table[stored] = label

    def apply(self, mask: Image, path: Path) -> Image:
        """Returns the class ids (H, W) of a mask (H, W).

        Raises:
            DataError: The mask holds an id that the table does not list.
        """
        labels = self.table[mask]
        if labels.min() == _INVALID:
            found = ", ".join(map(str, np.unique(mask[labels == _INVALID])[:5]))
            raise DataError(f"{path}: found label id {found}, expected {self.expected}")
        return labels.astype(np.uint8)


@dataclass(frozen=True)
class Layout:
    """The paths of a split, before any of its files is looked at.

    Attributes:
        clips: The files of the clips, in order; there is at least one clip.
        classes: The names of the classes.
        palette: The RGB colour of each class.
        labels: The table that maps stored ids to class ids.
        frame_seconds: The time from a frame of a sequence to the next, in seconds; None if it is not known.
    """

    clips: tuple[FileClip, ...]
    classes: tuple[str, ...]
    palette: tuple[Colour, ...]
    labels: LabelTable
    frame_seconds: float | None

    @property
    def frames(self) -> list[Path]:
        """The sorted paths of all frames, each once."""
        return sorted({path for clip in self.clips for path in clip.frames})

    @property
    def masks(self) -> list[Path]:
        """The sorted paths of all masks, each once."""
        return sorted({path for clip in self.clips for path in clip.masks if path is not None})


class FileClips:
    """A `ClipSource` over image files of one size.

    The constructor checks that every file exists; the content of a file is checked when it is read.

    Args:
        layout: The paths of the clips.

    Raises:
        DataError: A file is missing.
    """

    def __init__(self, layout: Layout) -> None:
        clips = layout.clips
        self.classes = layout.classes
        self.palette = layout.palette
        self.length = len(clips[0].frames)
        self.sequences = tuple(clip.sequence for clip in clips)
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

    def part(self, index: int, times: Sequence[int]) -> RawClip:
        """Reads the frames of a clip at some of its times 0..T-1; the other frames are not read."""
        clip = self._clips[index]
        return RawClip(
            tuple(read_frame(clip.frames[t], self._size) for t in times),
            tuple(self._mask(clip.masks[t]) for t in times),
            tuple(clip.frames[t].stem for t in times),
        )

    def fingerprint(self) -> str:
        """Returns the SHA-256 of classes, clips, label table, and the name and content of each file.

        The folder of the data set does not enter, so a data set that was moved keeps its fingerprint.
        """
        return digest_of(
            repr((type(self).__name__, self.classes, self._labels.table.tolist())),
            *(f"{name} {digest}\n" for name, digest in self.digests().items()),
            *(f"{clip.sequence} {[path.name for path in clip.frames]}\n" for clip in self._clips),
        )

    def digests(self, track: TrackFiles = iter) -> dict[str, str]:
        """Returns the SHA-256 of each file, by the names of its folder and itself.

        Args:
            track: Wraps the files that have to be read, to show the progress.

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
        """The sorted paths of all frames and masks, each once."""
        return self._files


def _check_presence(files: Sequence[Path]) -> None:
    """Looks for files by listing their folders, which is far cheaper than a system call for each file."""
    names = {folder: set(os.listdir(folder)) if folder.is_dir() else set() for folder in {f.parent for f in files}}
    for path in files:
        if path.name not in names[path.parent]:
            raise DataError(f"{path}: file not found, expected a frame or mask of the data set")


def read_frame(path: Path, size: tuple[int, int]) -> Image:
    """Reads a frame (H, W, 3).

    Args:
        path: The file to read.
        size: The expected width and height.

    Raises:
        DataError: The file is unreadable, or has another size or mode.
    """
    return decode_frame(path, read_bytes(path), size)


def decode_frame(path: Path, data: bytes, size: tuple[int, int] | None) -> Image:
    """Decodes the content of a frame file; like `read_frame`, but any size is accepted if `size` is None."""
    return _decode(path, data, size, ("RGB",))


def read_mask(path: Path, size: tuple[int, int], labels: LabelTable) -> Image:
    """Reads a mask and returns its class ids (H, W).

    Args:
        path: The file to read.
        size: The expected width and height.
        labels: The table that maps stored ids to class ids.

    Raises:
        DataError: The file is unreadable, has another size or mode, or holds an id that the table does not list.
    """
    return decode_mask(path, read_bytes(path), size, labels)


def decode_mask(path: Path, data: bytes, size: tuple[int, int] | None, labels: LabelTable) -> Image:
    """Decodes the content of a mask file; like `read_mask`, but any size is accepted if `size` is None."""
    return labels.apply(_decode(path, data, size, ("L", "P")), path)


def _decode(path: Path, data: bytes, size: tuple[int, int] | None, modes: tuple[str, ...]) -> Image:
    image = load_upright(path, data, verify=True)  # decoding alone ignores the checksums of PNG files
    if size is not None and image.size != size:
        raise DataError(f"{path}: found {_times(image.size)} pixels, expected {_times(size)}")
    if image.mode not in modes:
        raise DataError(f"{path}: found image mode {image.mode}, expected {' or '.join(modes)}")
    return np.array(image)


def image_size(path: Path) -> tuple[int, int]:
    """Returns width and height of a picture when upright.

    Raises:
        DataError: The file is unreadable.
    """
    return load_upright(path).size


def read_bytes(path: Path) -> bytes:
    """Returns the content of a file.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path}: found no readable file ({error.strerror}), expected PNG or JPEG") from error


def _times(size: tuple[int, int]) -> str:
    return "x".join(map(str, size))
