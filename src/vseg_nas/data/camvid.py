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
"""Largest step between the numbers of neighbours in a run: labels come every 30 frames, give or take one."""

Split = Literal["train", "val", "test"]
SPLITS: tuple[Split, ...] = ("train", "val", "test")

FRAME_RATE = 30.0
"""Hz, of the videos that frames are numbered by."""


class _Frame(NamedTuple):
    sequence: str
    number: int
    image: str
    mask: str


class CamVid(FileClips):
    """Clips of `length` neighbouring frames that never cross a cut.

    Files: `{split}/NAME.png` (or another picture of that name, whatever suffix the list has), `{split}annot/NAME.png`
    and `{split}.txt`, which lists one frame a line, or pairs of paths of another machine, Windows included, whose last
    two components count. The names alone do not show the cuts: a run ends where the video changes or the frame number
    jumps by more than `MAX_GAP`.

    Args:
        root: Folder that holds the three lists.
        split: Which list.
        length: Frames per clip, T; 1 gives single frames.
        stride: Step between the first frames of successive clips of a run; `length` makes them disjoint.

    Raises:
        ConfigError: Length or stride is below 1.
        DataError: A list or file is missing or unusable, or no run is as long as a clip.
    """

    def __init__(self, root: Path, split: Split, length: int = 3, stride: int = 1) -> None:
        super().__init__(camvid_layout(Path(root), split, length, stride))


def camvid_layout(root: Path, split: Split, length: int, stride: int) -> Layout:
    """Where the clips of a split lie; see `CamVid`.

    Raises:
        ConfigError: Length or stride is below 1.
        DataError: A list is missing or unusable, or no run is as long as a clip.
    """
    if length < 1 or stride < 1:
        raise ConfigError(f"clips: found length {length} and stride {stride}, expected 1 or more")
    clips: list[FileClip] = []
    runs = list(split_runs(_listed(root, split)))
    frame_names = _names_by_stem(root / split, SUFFIXES)
    mask_names = _names_by_stem(root / f"{split}annot", (".png",))
    for run in runs:
        name = f"{run[0].sequence}_{run[0].number:05}"
        for start in range(0, len(run) - length + 1, stride):
            window = range(start, start + length)
            clips.append(
                FileClip(
                    frames=tuple(root / split / _stored(run[i].image, frame_names) for i in window),
                    masks=tuple(root / f"{split}annot" / _stored(run[i].mask, mask_names) for i in window),
                    run=name,
                    frame_ids=tuple(window),
                )
            )
    if not clips:
        raise DataError(f"{root / split}.txt: found no run of {length} frames, expected at least one")
    ids = {i: i for i in range(len(CLASSES))} | {VOID: IGNORE, IGNORE: IGNORE}
    labels = LabelTable(ids, f"0 to {VOID}, or {IGNORE}")
    return Layout(tuple(clips), CLASSES, PALETTE, labels, _usual_step(runs))


def _usual_step(runs: Sequence[Sequence[_Frame]]) -> float | None:
    """Median time between neighbours in seconds: 1 in train and test, 1/15 in val; None where there are none."""
    steps = [b.number - a.number for run in runs for a, b in itertools.pairwise(run)]
    return statistics.median(steps) / FRAME_RATE if steps else None


def split_runs(frames: Sequence[_Frame]) -> Iterator[list[_Frame]]:
    """Cut sorted frames wherever the video changes or frames are missing."""
    run: list[_Frame] = []
    for frame in frames:
        if run and (frame.sequence != run[-1].sequence or frame.number - run[-1].number > MAX_GAP):
            yield run
            run = []
        run.append(frame)
    if run:
        yield run


def _listed(root: Path, split: str) -> list[_Frame]:
    """Frames that a list names, ordered by video and frame number."""
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


def _parse(path: Path, split: str, line: str) -> _Frame:
    """Read a line: `NAME.png`, or `/any/where/{split}/NAME.png /any/where/{split}annot/NAME.png`."""
    match = _line_pattern(split).fullmatch(line.strip().replace("\\", "/"))
    if match is None:
        raise DataError(f"{path}: found {line.strip()[:120]!r}, expected NAME_FRAME.png or a pair of such paths")
    return _Frame(match["sequence"], int(match["frame"]), match["image"], f"{match['stem']}.png")


@functools.cache
def _line_pattern(split: str) -> re.Pattern[str]:
    """Of a line whose backslashes are slashes; folders may hold blanks, names do not, and paths may be quoted."""
    frame = r"(?P<image>(?P<stem>(?P<sequence>\w+)_f?(?P<frame>\d+))(?:\.\w+)?)"
    folders = rf"""["']?(?:(?:(?!{split}/\w+\.\w+["']?\s).)*/)?"""  # not beyond a whole path
    mask = rf"""{folders}{split}annot/(?P=stem)\.\w+["']?"""
    return re.compile(rf"""(?:{folders}{split}/)?{frame}["']?(?:\s+{mask})?""")


def _names_by_stem(folder: Path, suffixes: Collection[str]) -> dict[str, list[str]]:
    """The names in a folder with these suffixes, in lower or upper case, sorted, by their stem."""
    names: dict[str, list[str]] = {}
    for name in sorted(os.listdir(folder)) if folder.is_dir() else []:
        stem, suffix = os.path.splitext(name)
        if suffix.lower() in suffixes:
            names.setdefault(stem, []).append(name)
    return names


def _stored(name: str, names: Mapping[str, Sequence[str]]) -> str:
    """The file that a list means by a name: that one, or the first that differs in its suffix only."""
    there = names.get(name.partition(".")[0], [])
    return name if name in there or not there else there[0]
