"""Reading and writing files of weights; nothing in them is ever executed.

Our own files hold a SHA-256 of their content, since most flipped bits of weights can be loaded without an error.
"""

import json
import os
import struct
import warnings
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from vseg_nas.errors import DataError, first_line
from vseg_nas.runs.digests import digest_of
from vseg_nas.runs.files import open_regular, write_bytes

_DIGEST = "sha256"
_MOST_HEADER_BYTES = 2**20  # headers of our files have 60 kB
_MOST_TENSORS = 10_000
_SHORT = (torch.float16, torch.bfloat16)
"""Types as which float32 weights may be stored to save room; all their values are float32 values too."""
_DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)


def read_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Returns tensors and metadata of a .safetensors file that `write_safetensors` wrote.

    Raises:
        DataError: The file cannot be read, is not one of ours, or is damaged.
    """
    state, metadata = read_foreign_safetensors(path)
    digest = metadata.pop(_DIGEST, None)
    if digest is None:
        raise DataError(f"{path}: found no SHA-256 in it, expected a file that a command of vseg_nas wrote")
    if digest != _digest(state, metadata):
        raise DataError(f"{path}: damaged (its SHA-256 differs)")
    return state, metadata


def read_foreign_safetensors(path: Path) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Returns tensors and metadata of a .safetensors file that any program may have written.

    Raises:
        DataError: The file cannot be read.
    """
    try:
        _check_header(path)
        with safe_open(path, "pt") as file:
            state = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 (not a mapping)
            metadata: dict[str, str] = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise DataError(f"{path}: unreadable ({first_line(error)})") from error
    for name, value in state.items():
        if value.dtype not in _DTYPES:
            raise DataError(f"{path}: {name[:80]!r}: found {value.dtype}, expected ordinary numbers")
    return state, metadata


def _check_header(path: Path) -> None:
    """Checks the length of a header before it is parsed, so that an untrusted file cannot exhaust the memory.

    Raises:
        DataError: The header is too long, or names too many tensors.
        OSError: The file cannot be read.
    """
    with os.fdopen(open_regular(path, os.O_RDONLY, follow=True), "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _MOST_HEADER_BYTES:
            raise DataError(f"{path}: found a header of {length} bytes, expected at most {_MOST_HEADER_BYTES}")
        if (tensors := file.read(length).count(b'"dtype"')) > _MOST_TENSORS:
            raise DataError(f"{path}: found {tensors} tensors, expected at most {_MOST_TENSORS}")


def read_pickled(path: Path) -> object:
    """Returns the content of a .pth, .pt or .ckpt file of tensors and plain data.

    Raises:
        DataError: The file is damaged, or holds other objects.
    """
    try:
        with warnings.catch_warnings(action="ignore"):  # about pickles of another protocol, which are refused anyway
            content: object = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # the unpickler may raise anything when the bytes are not a pickle
        raise DataError(f"{path}: refused, damaged or not of tensors alone ({first_line(error)})") from error
    return content


def write_safetensors(state: Mapping[str, Tensor], metadata: dict[str, str], path: Path) -> None:
    """Writes a .safetensors file with its SHA-256, atomically. Equal content makes equal bytes.

    Raises:
        RunError: The disk is full, or the folder cannot be written to.
    """
    content = {name: value.detach().contiguous().cpu() for name, value in state.items()}
    write_bytes(path, _in_order(save(content, {**metadata, _DIGEST: _digest(content, metadata)})))


def _in_order(content: bytes) -> bytes:
    """Sorts the header of a .safetensors file, since the library writes the metadata in another order each time."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # keeps the tensors aligned
    return b"".join((struct.pack("<Q", len(header)), header, memoryview(content)[8 + length :]))


def load_weights(network: nn.Module, state: Mapping[str, Tensor], path: Path, of: str) -> None:
    """Copies weights from an untrusted file into a network, after checking them.

    Args:
        network: The network; it is changed in place.
        state: The weights by name.
        path: The path of the file, for error messages.
        of: The name, for error messages, of what the weights are expected to fit.

    Raises:
        DataError: The weights have other names, shapes or types than those of the network, or values that are not
            finite. ``load_state_dict`` alone would silently round and drop imaginary parts.
    """
    check_weights(state, network.state_dict(), path, of)
    network.load_state_dict(dict(state))


def check_weights(state: Mapping[str, Tensor], own: Mapping[str, Tensor], path: Path, of: str) -> None:
    """Compares weights from an untrusted file with those of a network.

    Args:
        state: The weights by name.
        own: The weights of the network by name.
        path: The path of the file, for error messages.
        of: The name, for error messages, of what the weights are expected to fit.

    Raises:
        DataError: They do not fit, see `load_weights`.
    """
    if odd := sorted(map(str, own.keys() ^ state.keys())):
        raise DataError(f"{path}: the weights do not fit {of} ({len(odd)} names differ, the first: {odd[0][:60]!r})")
    for name, value in state.items():
        mine = own[name]
        if not isinstance(value, Tensor) or value.layout is not torch.strided or value.device.type != "cpu":
            raise DataError(f"{path}: {name}: found no ordinary tensor, expected the weights of {of}")
        kept_short = mine.dtype is torch.float32 and value.dtype in _SHORT
        if value.shape != mine.shape or not (value.dtype is mine.dtype or kept_short):
            found, expected = (f"{weight.dtype} of {list(weight.shape)}" for weight in (value, mine))
            raise DataError(f"{path}: the weights do not fit {of} ({name}: found {found}, expected {expected})")
        if not value.isfinite().all():
            raise DataError(f"{path}: {name}: found values that are not finite, expected a network that can be used")
        if name.endswith("running_var") and (value < 0).any():
            raise DataError(f"{path}: {name}: found a negative variance, expected a network that can be used")


def _digest(state: Mapping[str, Tensor], metadata: Mapping[str, str]) -> str:
    """Returns the SHA-256 of names, types, shapes, values and metadata, whatever their order in the file."""
    parts: list[str | memoryview] = [json.dumps(dict(metadata), sort_keys=True)]
    for name, value in sorted(state.items()):
        parts += [f"{name} {value.dtype} {tuple(value.shape)}\n", value.reshape(-1).view(torch.uint8).numpy().data]
    return digest_of(*parts)
