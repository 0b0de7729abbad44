"""CityScapes with its 19 evaluation classes: annotated frames, each with the frames before it."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from vseg_nas.data.image_files import FileClip, FileClips, LabelTable, Layout
from vseg_nas.errors import ConfigError, DataError
from vseg_nas.labels import IGNORE

CLASSES = (
    "road", "sidewalk", "building", "wall", "fence", "pole", "traffic_light", "traffic_sign", "vegetation",
    "terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle",
)  # fmt: skip
PALETTE = (
    (128, 64, 128), (244, 35, 232), (70, 70, 70), (102, 102, 156), (190, 153, 153), (153, 153, 153),
    (250, 170, 30), (220, 220, 0), (107, 142, 35), (152, 251, 152), (70, 130, 180), (220, 20, 60),
    (255, 0, 0), (0, 0, 142), (0, 0, 70), (0, 60, 100), (0, 80, 100), (0, 0, 230), (119, 11, 32),
)  # fmt: skip
EVALUATED_IDS = (7, 8, 11, 12, 13, 17, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 31, 32, 33)
"""The label ids of the 19 classes, in the order of the train ids; all other label ids are ignored."""

Labels = Literal["train_ids", "label_ids"]
Split = Literal["train", "val"]
SPLITS: tuple[Split, ...] = ("train", "val")

SNIPPET = 20
"""Number of frames of a snippet of leftImg8bit_sequence up to and including the annotated one; ten more follow."""

FRAME_RATE = 17.0
"""Frames per second of leftImg8bit_sequence."""

_NAME = re.compile(r"(?P<city>[a-z-]+)_(?P<sequence>\d{6})_(?P<frame>\d{6})_leftImg8bit")
_SUFFIXES = (".png", ".jpg")
_SEQUENCES = "leftImg8bit_sequence_trainvaltest"
_MASKS: dict[Labels, str] = {"train_ids": "labelTrainIds", "label_ids": "labelIds"}


class CityScapes(FileClips):
    """Clips of an annotated frame and its predecessors, which have no labels: all their pixels are ignored.

    The files are `leftImg8bit/{split}/{city}/{city}_{seq}_{frame}_leftImg8bit.png` (or .jpg), the frames before it in
    `leftImg8bit_sequence`, and `gtFine/{split}/{city}/{city}_{seq}_{frame}_gtFine_label{TrainIds,Ids}.png`.
    The frame numbers of some cities count through a whole drive; a predecessor always has the number before.

    Args:
        root: The folder that holds the packages.
        split: The split to read.
        length: The number of frames in a clip, 1 to 20.
        labels: The kind of masks to read; "auto" takes train ids if every frame has them, and label ids otherwise.

    Raises:
        ConfigError: A snippet does not have that many frames up to the annotated one.
        DataError: There is no frame, or a predecessor or mask is missing.
    """

    def __init__(self, root: Path, split: Split, length: int = 2, labels: Labels | Literal["auto"] = "auto") -> None:
        layout = cityscapes_layout(Path(root), split, length, labels)
        before = [path for clip in layout.clips for path in clip.frames[:-1]]
        missing = [path for path in before if not path.is_file()]
        if missing:
            raise DataError(
                f"{missing[0]}: file not found, as {len(missing)} of the {len(before)} frames before annotated ones, "
                f"expected the files of the package {_SEQUENCES}"
            )
        super().__init__(layout)


def cityscapes_layout(root: Path, split: Split, length: int, labels: Labels | Literal["auto"] = "auto") -> Layout:
    """Returns the paths of the clips of a split; the arguments are those of `CityScapes`.

    Raises:
        ConfigError: A snippet does not have that many frames up to the annotated one.
        DataError: There is no frame.
    """
    if not 1 <= length <= SNIPPET:
        raise ConfigError(f"length: found {length}, expected 1 to {SNIPPET}: the frames up to the annotated one")
    frames = sorted(_annotated(root / "leftImg8bit" / split))
    if labels == "auto":
        labels = _stored_labels(root, split, frames)
    clips = tuple(_clip(root, split, frame, length, labels) for frame in frames)
    return Layout(clips, CLASSES, PALETTE, label_table(labels), 1 / FRAME_RATE)


def _stored_labels(root: Path, split: str, frames: list[Path]) -> Labels:
    """Returns train ids if every frame has them, and otherwise the kind that more frames have.

    Label ids come with the data set, train ids have to be made from them, and that may have been done for some only.
    """
    train, label = (sum(_mask(root, split, frame, kind).is_file() for frame in frames) for kind in _MASKS)
    return "train_ids" if train == len(frames) or train > label else "label_ids"


def label_table(labels: Labels) -> LabelTable:
    """Returns the table that maps the ids stored in masks of a kind to class ids."""
    if labels == "train_ids":
        ids = {i: i for i in range(len(CLASSES))} | {IGNORE: IGNORE}
        return LabelTable(ids, f"a train id, 0 to {len(CLASSES) - 1}, or {IGNORE}")
    ids = dict.fromkeys((*range(max(EVALUATED_IDS) + 1), IGNORE), IGNORE)
    ids |= {stored: i for i, stored in enumerate(EVALUATED_IDS)}
    return LabelTable(ids, f"a label id, 0 to {max(EVALUATED_IDS)}")


def _annotated(folder: Path) -> Iterator[Path]:
    """Finds the frames of a split, one per annotation; hidden files, as macOS and editors leave them, do not count."""
    found = False
    for path in folder.glob("*/*_leftImg8bit.*"):
        if path.suffix in _SUFFIXES and not path.name.startswith(".") and not path.parent.name.startswith("."):
            found = True
            yield path
    if not found:
        raise DataError(f"{folder}: found no frame, expected CITY/CITY_SEQUENCE_FRAME_leftImg8bit.png or .jpg")


def _clip(root: Path, split: str, frame: Path, length: int, labels: Labels) -> FileClip:
    match = _NAME.fullmatch(frame.stem)
    if match is None or match["city"] != frame.parent.name:
        raise DataError(f"{frame}: found an unknown name, expected CITY_SEQUENCE_FRAME_leftImg8bit in folder CITY")
    city, sequence, number = match["city"], match["sequence"], int(match["frame"])
    mask = _mask(root, split, frame, labels)
    name = f"{city}_{sequence}"
    folder = root / "leftImg8bit_sequence" / split / city
    numbers = range(number - length + 1, number)
    before = tuple(_existing(folder / f"{name}_{earlier:06}_leftImg8bit") for earlier in numbers)
    return FileClip((*before, frame), (*(None for _ in before), mask), name, (*numbers, number))


def _mask(root: Path, split: str, frame: Path, labels: Labels) -> Path:
    name = frame.stem.replace("leftImg8bit", f"gtFine_{_MASKS[labels]}.png")
    return root / "gtFine" / split / frame.parent.name / name


def _existing(stem: Path) -> Path:
    """Returns the file with the first of the suffixes that exists, or with the usual suffix if none does."""
    candidates = [stem.with_name(stem.name + suffix) for suffix in _SUFFIXES]
    return next((path for path in candidates if path.is_file()), candidates[0])
