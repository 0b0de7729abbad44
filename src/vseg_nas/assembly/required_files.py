"""Checks, before anything is made, that what a command reads is there: data sets and checkpoints."""

from pathlib import Path

from vseg_nas.data.settings import DatasetSettings, SyntheticSettings
from vseg_nas.errors import DataError

_LAYOUT = {
    "camvid": "train/, trainannot/ and train.txt",
    "cityscapes": "leftImg8bit/, leftImg8bit_sequence/ and gtFine/",
}


def require_dataset_root(dataset: DatasetSettings) -> None:
    """Checks that the folder of a data set is there.

    Raises:
        DataError: It is not set or does not exist.
    """
    if isinstance(dataset, SyntheticSettings):
        return
    holds = _LAYOUT[dataset.name]
    if dataset.root is None:
        raise DataError(f"dataset.root: not set, expected the folder that holds {holds}")
    if not Path(dataset.root).is_dir():
        raise DataError(f"dataset.root: found no folder {dataset.root}, expected one that holds {holds}")


def require_checkpoint(path: str | Path, hint: str = "") -> None:
    """Checks that a checkpoint exists.

    Args:
        path: The file that ``checkpoint=`` names.
        hint: Words that are added to the error message.

    Raises:
        DataError: There is no such file.
    """
    if not Path(path).is_file():
        raise DataError(f"checkpoint: found no file {path}, expected one that `train` wrote{hint}")
