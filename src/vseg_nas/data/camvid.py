"""CamVid with 11 classes, in the folder layout of the SegNet tutorial, as clips of successive frames."""

import functools
import itertools
import os
import re
import statistics
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

from vseg_nas.data.image_files import FileClip, FileClips, LabelTable, Layout
from vseg_nas.errors import ConfigError, DataError
from vseg_nas.labels import IGNORE
from vseg_nas.pictures import SUFFIXES

CLASSES = (
    "sky", "building", "pole", "road", "pavement", "tree",
    "sign_symbol", "fence", "car", "pedestrian", "bicyclist",
)  # fmt: skip
PALETTE = (
    (128, 128, 128), (128, 0, 0), (192, 192, 128), (128, 64, 128), (60, 40, 222), (128, 128, 0),
    (192, 128, 128), (64, 64, 128), (64, 0, 128), (64, 64, 0), (0, 128, 192),
)  # fmt: skip
VOID = 11
MAX_GAP = 31
"""Largest step between frame numbers of neighbours in a sequence: every 30th frame is labelled, give or take one."""

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

FRAME_RATE = 30.0
"""Frames per second of the videos whose frames are numbered."""


class _ListedFrame(NamedTuple):
    video: str
    number: int
    image: str
    mask: str


class CamVid(FileClips):
    """Clips of `length` neighbouring frames that never cross a cut.

    The files are frames `{split}/NAME.png`, masks `{split}annot/NAME.png` and the list `{split}.txt`. A frame may be
    a picture with another suffix than the list says. A line of the list names one frame, or a frame and its mask by
    paths of another machine, Windows included, of which only the last two components count.

    A sequence ends where the video changes or the frame number jumps by more than `MAX_GAP`. The frame numbers have to
    be read for that: one video holds several sequences, and its name is the same before and after a cut.

    Args:
        root: The folder that holds the three lists.
        split: The split to read.
        length: The number of frames in a clip, T; 1 gives single frames.
        stride: The step between the first frames of successive clips of a sequence; `length` makes clips disjoint.

    Raises:
        ConfigError: Length or stride is below 1.
        DataError: A list or file is missing or unusable, or no sequence is as long as a clip.
    """

    def __init__(self, root: Path, split: Split, length: int = 3, stride: int = 1) -> None:
        super().__init__(camvid_layout(Path(root), split, length, stride))


def camvid_layout(root: Path, split: Split, length: int, stride: int) -> Layout:
    """Returns the paths of the clips of a split; the arguments are those of `CamVid`.

    Raises:
        ConfigError: Length or stride is below 1.
        DataError: A list is missing or unusable, or no sequence is as long as a clip.
    """
    if length < 1 or stride < 1:
        raise ConfigError(f"clips: found length {length} and stride {stride}, expected 1 or more")
    clips: list[FileClip] = []
    sequences = list(split_sequences(_listed(root, split)))
    frame_names = _names_by_stem(root / split, SUFFIXES)
    mask_names = _names_by_stem(root / f"{split}annot", (".png",))
    for sequence in sequences:
        name = f"{sequence[0].video}_{sequence[0].number:05}"
        for start in range(0, len(sequence) - length + 1, stride):
            window = range(start, start + length)
            clips.append(
                FileClip(
                    frames=tuple(root / split / _stored(sequence[i].image, frame_names) for i in window),
                    masks=tuple(root / f"{split}annot" / _stored(sequence[i].mask, mask_names) for i in window),
                    sequence=name,
                    frame_ids=tuple(window),
                )
            )
    if not clips:
        raise DataError(f"{root / split}.txt: found no sequence of {length} frames, expected at least one")
    # Masks mark ignored pixels by 11, as in the SegNet tutorial, or already by 255.
    ids = {i: i for i in range(len(CLASSES))} | {VOID: IGNORE, IGNORE: IGNORE}
    labels = LabelTable(ids, f"0 to {VOID}, or {IGNORE}")
    return Layout(tuple(clips), CLASSES, PALETTE, labels, _usual_step(sequences))


def _usual_step(sequences: Sequence[Sequence[_ListedFrame]]) -> float | None:
    """Returns the median time between neighbours in seconds: 1 in train and test, 1/15 in val. None without neighbours.

    The median is taken because a few steps are 29 or 31 frames long.
    """
    steps = [b.number - a.number for sequence in sequences for a, b in itertools.pairwise(sequence)]
    return statistics.median(steps) / FRAME_RATE if steps else None


def split_sequences(frames: Sequence[_ListedFrame]) -> Iterator[list[_ListedFrame]]:
    """Cuts sorted frames into sequences, wherever the video changes or frames are missing."""
    sequence: list[_ListedFrame] = []
    for frame in frames:
        if sequence and (frame.video != sequence[-1].video or frame.number - sequence[-1].number > MAX_GAP):
            yield sequence
            sequence = []
        sequence.append(frame)
    if sequence:
        yield sequence


def _listed(root: Path, split: str) -> list[_ListedFrame]:
    """Reads the list of a split; the frames are sorted by video and frame number."""
    path = root / f"{split}.txt"
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: found no readable list ({type(error).__name__}), expected file names") from error
    frames = sorted(_parse(path, split, line) for line in lines if line.strip())
    for one, other in itertools.pairwise(frames):
        if one[:2] == other[:2]:
            raise DataError(f"{path}: found {other.image} twice, expected each frame once")
    return frames


def _parse(path: Path, split: str, line: str) -> _ListedFrame:
    """Parses a line: `NAME.png`, or `/any/where/{split}/NAME.png /any/where/{split}annot/NAME.png`."""
    match = _line_pattern(split).fullmatch(line.strip().replace("\\", "/"))
    if match is None:
        raise DataError(f"{path}: found {line.strip()[:120]!r}, expected NAME_FRAME.png or a pair of such paths")
    return _ListedFrame(match["video"], int(match["frame"]), match["image"], f"{match['stem']}.png")


@functools.cache
def _line_pattern(split: str) -> re.Pattern[str]:
    """Returns the pattern of a line, whose backslashes have been replaced by slashes.

    Folders may contain spaces, file names may not, and paths may be quoted.
    """
    frame = r"(?P<image>(?P<stem>(?P<video>\w+)_f?(?P<frame>\d+))(?:\.\w+)?)"
    folders = rf"""["']?(?:(?:(?!{split}/\w+\.\w+["']?\s).)*/)?"""  # the lookahead keeps it from crossing into the mask
    mask = rf"""{folders}{split}annot/(?P=stem)\.\w+["']?"""
    return re.compile(rf"""(?:{folders}{split}/)?{frame}["']?(?:\s+{mask})?""")


def _names_by_stem(folder: Path, suffixes: Collection[str]) -> dict[str, list[str]]:
    """Returns the sorted file names of a folder by their stem; only names with one of the suffixes, in either case."""
    names: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)) if folder.is_dir() else []:
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in suffixes:
            names.setdefault(stem, []).append(name)
    return names


def _stored(name: str, names: Mapping[str, Sequence[str]]) -> str:
    """Returns the file that a list means by a name: that file, or the first one that differs only in its suffix."""
    candidates = names.get(name.partition(".")[0], [])
    return name if name in candidates or not candidates else candidates[0]
