"""Names for people: of data sets, vocabulary entries and run directories."""

import re
from collections.abc import Sequence
from pathlib import Path

from vseg_nas.runs.files import printable

_DATASETS = {"camvid": "CamVid", "cityscapes": "CityScapes"}


def dataset_label(name: str) -> str:
    """Returns the name of a data set as its authors write it."""
    return _DATASETS.get(name, name)


def label(name: str) -> str:
    """Returns a vocabulary name for people, such as ``previous layer 4`` for ``prev_layer4``."""
    words = re.sub(r"layer(\d)", r"layer \1", name.replace("_", " "))
    return re.sub(r"(\d)x(\d)", "\\1\N{MULTIPLICATION SIGN}\\2", words.replace("prev ", "previous "))


def short_names(folders: Sequence[Path]) -> list[str]:
    """Returns the shortest unique ends of some paths, printable; a number alone (a job of a sweep) is not enough."""
    for length in range(1, max(len(folder.parts) for folder in folders)):
        names = [printable("/".join(folder.parts[-length:])) for folder in folders]
        if len(set(names)) == len(names) and not any(name.isdecimal() for name in names):
            return names
    return [printable(str(folder)) for folder in folders]


def training_names(checkpoints: Sequence[Path]) -> dict[Path, str]:
    """Returns names of trainings by checkpoint: those of their folders, or of the files if a folder holds several."""
    files = list(dict.fromkeys(checkpoints))
    folders = [file.parent for file in files]
    told_apart = folders if len(set(folders)) == len(files) else files
    return dict(zip(files, short_names(told_apart), strict=True)) if files else {}
