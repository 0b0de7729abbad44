"""Names as a person reads them: of data sets, vocabulary entries and directories of runs."""

import re
from collections.abc import Sequence
from pathlib import Path

from vseg_nas.runs.files import printable

_DATASETS = {"camvid": "CamVid", "cityscapes": "CityScapes"}


def dataset_label(name: str) -> str:
    """A data set as its authors write it."""
    return _DATASETS.get(name, name)


def label(name: str) -> str:
    """A vocabulary name as a person reads it: `prev_layer4` -> `previous layer 4`, `conv_3d` -> `conv 3d`."""
    words = re.sub(r"layer(\d)", r"layer \1", name.replace("_", " "))
    return re.sub(r"(\d)x(\d)", "\\1\N{MULTIPLICATION SIGN}\\2", words.replace("prev ", "previous "))


def short_names(folders: Sequence[Path]) -> list[str]:
    """The shortest ends of some paths that tell them apart and are more than a number (a job of a sweep), printable."""
    for length in range(1, max(len(folder.parts) for folder in folders)):
        names = [printable("/".join(folder.parts[-length:])) for folder in folders]
        if len(set(names)) == len(names) and not any(name.isdecimal() for name in names):
            return names
    return [printable(str(folder)) for folder in folders]


def training_names(checkpoints: Sequence[Path]) -> dict[Path, str]:
    """Names of trainings by their checkpoints: of their folders, or of the files if one folder holds several."""
    files = list(dict.fromkeys(checkpoints))
    folders = [file.parent for file in files]
    told_apart = folders if len(set(folders)) == len(files) else files
    return dict(zip(files, short_names(told_apart), strict=True)) if files else {}
