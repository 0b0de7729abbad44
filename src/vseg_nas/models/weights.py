"""Files of weights, read as data: nothing in them is executed."""

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vseg_nas.errors import DataError
from vseg_nas.files import write_bytes


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a .safetensors file.

    Raises:
        DataError: the file cannot be read.
    """
    try:
        with safe_open(path, "pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
            return state, file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: unreadable ({first_line(error)})") from error


def read_pickled(path: Path) -> object:
    """Content of a .pth, .pt or .ckpt file of tensors and plain data.

    Raises:
        DataError: the file is damaged or holds more than that.
    """
    try:
        content: object = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no pickle can make the unpickler raise anything
        raise DataError(f"{path}: refused, damaged or not of tensors alone ({first_line(error)})") from error
    return content


def write_safetensors(state: Mapping[str, Tensor], metadata: dict[str, str], path: Path) -> None:
    """Writes a .safetensors file; replaces in one step.

    Raises:
        RunError: the disk is full, or the folder cannot be written to.
    """
    write_bytes(path, save({name: value.contiguous().cpu() for name, value in state.items()}, metadata))


def first_line(error: BaseException) -> str:
    """What an error says, short."""
    return (str(error).splitlines() or [type(error).__name__])[0][:100]
