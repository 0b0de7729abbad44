"""Files of weights, read as data: nothing in them is executed.

Ours carry a SHA-256 of everything in them, since most flipped bits of weights load without complaint.
"""

import hashlib
import json
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

from vseg_nas.errors import DataError
from vseg_nas.files import sha256_of, write_bytes

_DIGEST = "sha256"


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of a .safetensors file that `write_safetensors` wrote.

    Raises:
        DataError: the file cannot be read, is not one of ours, or is damaged.
    """
    state, metadata = read_foreign_safetensors(path)
    digest = metadata.pop(_DIGEST, None)
    if digest is None:
        raise DataError(f"{path}: found no SHA-256 in it, expected a file that a command of vseg_nas wrote")
    if digest != _digest(state, metadata):
        raise DataError(f"{path}: damaged (its SHA-256 differs)")
    return state, metadata


def read_foreign_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors and metadata of anybody's .safetensors file.

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
        with warnings.catch_warnings(action="ignore"):  # of pickles of another protocol, which are refused anyway
            content: object = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # bytes that are no pickle can make the unpickler raise anything
        raise DataError(f"{path}: refused, damaged or not of tensors alone ({first_line(error)})") from error
    return content


def write_safetensors(state: Mapping[str, Tensor], metadata: dict[str, str], path: Path) -> None:
    """Writes a .safetensors file with its SHA-256; replaces in one step.

    Raises:
        RunError: the disk is full, or the folder cannot be written to.
    """
    content = {name: value.detach().contiguous().cpu() for name, value in state.items()}
    write_bytes(path, save(content, {**metadata, _DIGEST: _digest(content, metadata)}))


def note_of(path: Path) -> Path:
    """``last.ckpt.sha256`` of ``last.ckpt``: a digest a line; a line may go on with a name, as `sha256sum` has it."""
    return path.with_name(f"{path.name}.{_DIGEST}")


def verify_note(path: Path) -> None:
    """Compares a file with the SHA-256 digests that lie beside it, as those of Lightning checkpoints do.

    Raises:
        DataError: there are none, or the file is damaged.
    """
    note = note_of(path)
    try:
        digest = sha256_of(path)
        noted = [line.partition(" ")[0] for line in note.read_text(encoding="ascii").splitlines()]
    except (OSError, ValueError) as error:
        raise DataError(f"{note}: cannot be read ({first_line(error)}), expected the SHA-256 of {path.name}") from error
    if digest not in noted:
        raise DataError(f"{path}: damaged (its SHA-256 is not in {note.name})")


def _digest(state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Of names, types, shapes, values and metadata, whatever their order in the file."""
    digest = hashlib.sha256(json.dumps(dict(metadata), sort_keys=True).encode())
    for name, value in sorted(state.items()):
        digest.update(f"{name} {value.dtype} {tuple(value.shape)}\n".encode())
        digest.update(value.reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()


def first_line(error: BaseException) -> str:
    """What an error says, short."""
    return (str(error).splitlines() or [type(error).__name__])[0][:100]
