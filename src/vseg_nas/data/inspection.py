"""Reads every frame and mask of a split and says what is wrong with which.

Legend: H, W.
"""

import hashlib
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from vseg_nas.data.clip import Image
from vseg_nas.data.image_files import Layout, decode_frame, decode_mask, image_size, read_bytes
from vseg_nas.errors import DataError
from vseg_nas.results.data_check import FrameSequence

_SAMPLE = 25  # headers that say what size the others should have


@dataclass(frozen=True)
class FileReport:
    """One file that was looked at.

    Attributes:
        path: of it.
        problem: one line that names the file; None if it can be used.
        sha256: of its bytes, if it can be used.
        pixels: (256,) of each class id, 255 = ignored, of masks that can be used.
    """

    path: Path
    problem: str | None = None
    sha256: str = ""
    pixels: NDArray[np.int64] | None = None


def inspect(layout: Layout, threads: int) -> Iterator[FileReport]:
    """Reads every frame and mask, several at a time.

    Problems are files that are missing or unreadable, of another size than most frames or of another mode, and masks
    with label ids out of range.

    Args:
        layout: of the split.
        threads: that read; decoding does not hold the interpreter's lock.
    """
    size = _usual_size(layout.frames)

    def frame(path: Path) -> FileReport:
        return _report(path, lambda data: decode_frame(path, data, size), counted=False)

    def mask(path: Path) -> FileReport:
        return _report(path, lambda data: decode_mask(path, data, size, layout.labels), counted=True)

    with ThreadPoolExecutor(threads) as pool:
        yield from pool.map(frame, layout.frames)
        yield from pool.map(mask, layout.masks)


def run_reports(layout: Layout) -> list[FrameSequence]:
    """The runs of a split, in order of appearance; a missing frame ends a run.

    Frames of CityScapes that share a name may be parts of one long drive, hundreds of frames apart.
    """
    names: dict[str, dict[int, str]] = {}
    for clip in layout.clips:
        names.setdefault(clip.run, {}).update(zip(clip.frame_ids, (path.stem for path in clip.frames), strict=True))
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
    return FileReport(path, None, hashlib.sha256(data).hexdigest(), pixels)


def _usual_size(frames: Sequence[Path]) -> tuple[int, int] | None:
    """Width and height of most frames of a sample spread over all: the first of them may be the odd one out.

    None where not one of the frames can be read.
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
