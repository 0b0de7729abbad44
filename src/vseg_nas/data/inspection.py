"""Inspection of a data set: which files cannot be used and why, which sequences there are, whether it has labels."""

import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vseg_nas.data.clip import ClipSource
from vseg_nas.data.image_files import Layout, decode_frame, decode_mask, image_size, read_bytes
from vseg_nas.errors import DataError
from vseg_nas.labels import IGNORE
from vseg_nas.pictures import Image
from vseg_nas.results.data_check import FrameSequence
from vseg_nas.runs.digests import digest_of

_SAMPLE = 25  # number of frames whose sizes decide which size the others should have


@dataclass(frozen=True)
class FileReport:
    """The result of reading one file.

    Attributes:
        path: The path of the file.
        problem: One line that names the file and says why it cannot be used; None if it can.
        sha256: The SHA-256 of its content, if it can be used.
        pixels: (256,) number of pixels of each class id (255 = ignored), of a mask that can be used.
    """

    path: Path
    problem: str | None = None
    sha256: str = ""
    pixels: NDArray[np.int64] | None = None


def inspect(layout: Layout, threads: int) -> Iterator[FileReport]:
    """Reads every frame and mask, several at a time.

    A file has a problem if it is missing or unreadable, has another size than most frames or the wrong mode, or is a
    mask with label ids out of range.

    Args:
        layout: The paths of the split.
        threads: The number of threads that read; decoding releases Python's global lock, so they run in parallel.
    """
    size = _usual_size(layout.frames)

    def frame(path: Path) -> FileReport:
        return _report(path, lambda data: decode_frame(path, data, size), counted=False)

    def mask(path: Path) -> FileReport:
        return _report(path, lambda data: decode_mask(path, data, size, layout.labels), counted=True)

    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(frame, layout.frames)
        yield from pool.map(mask, layout.masks)


def sequence_reports(layout: Layout) -> list[FrameSequence]:
    """Returns the sequences of a split, in order of appearance; a missing frame ends a sequence.

    That is needed for CityScapes, where clips of the same name may be parts of one drive, hundreds of frames apart.
    """
    names: dict[str, dict[int, str]] = {}
    for clip in layout.clips:
        names.setdefault(clip.sequence, {}).update(
            zip(clip.frame_ids, (path.stem for path in clip.frames), strict=True)
        )
    reports = []
    for frames in names.values():
        ids = sorted(frames)
        cuts = [index for index, (a, b) in enumerate(itertools.pairwise(ids), 1) if b != a + 1]
        for first, end in itertools.pairwise([0, *cuts, len(ids)]):
            reports.append(FrameSequence(first=frames[ids[first]], last=frames[ids[end - 1]], frames=end - first))
    return reports


def _report(path: Path, decode: Callable[[bytes], Image], counted: bool) -> FileReport:
    try:
        data = read_bytes(path)
        image = decode(data)
    except DataError as error:
        return FileReport(path, str(error))
    pixels = np.bincount(image.ravel(), minlength=256) if counted else None
    return FileReport(path, None, digest_of(data), pixels)


def _usual_size(frames: Sequence[Path]) -> tuple[int, int] | None:
    """Returns width and height of most frames, judged by a sample: any single frame may be the one that differs.

    The result is None if not one of the frames can be read.
    """
    sample = frames[:: max(1, len(frames) // _SAMPLE)]
    if sizes := Counter(size for path in sample if (size := _size(path)) is not None):
        return sizes.most_common(1)[0][0]
    return next((size for path in frames if (size := _size(path)) is not None), None)


def _size(path: Path) -> tuple[int, int] | None:
    try:
        return image_size(path)
    except DataError:
        return None  # `inspect` reports it


def require_labels(source: ClipSource, split: str, indices: Sequence[int] | None = None, key: str = "dataset") -> None:
    """Checks that some frame that counts has a labelled pixel, before hours of training or scoring are spent.

    In clips of several frames, all frames after the first count; single frames count themselves. Reading stops at the
    first clip with labels.

    Args:
        source: The clips.
        split: The name of the split, for the error message.
        indices: The indices of the clips to look at; None means all.
        key: The configuration key or argument of the source, for the error message.

    Raises:
        DataError: No pixel is labelled, or a file cannot be used.
    """
    chosen = range(len(source)) if indices is None else indices
    clips = (source[index].masks for index in chosen)
    if not any((mask != IGNORE).any() for masks in clips for mask in masks[1:] or masks):
        raise DataError(f"{key}: found no labelled pixel in {split} (clips: {len(chosen)}), expected some")
