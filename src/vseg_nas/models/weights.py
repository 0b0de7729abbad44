"""Files of weights, read as data: nothing in them is executed.

Ours carry a SHA-256 of everything in them, since most flipped bits of weights load without complaint.
"""

import hashlib
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

from vseg_nas.errors import DataError
from vseg_nas.files import open_regular, read_regular, sha256_of, write_bytes

_DIGEST = "sha256"
_MOST_HEADER_BYTES = 2**20  # ours have 60 kB
_MOST_TENSORS = 10_000
_MOST_NOTE_BYTES = 2**16
_SHORT = (torch.float16, torch.bfloat16)
"""As which weights may be stored to save room: every value of theirs is a float32."""
_DTYPES = (
    *(torch.float64, torch.float32, torch.float16, torch.bfloat16),
    *(torch.int64, torch.int32, torch.int16, torch.int8, torch.uint8, torch.bool),
)


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
    """Looks at the length of a header before it is parsed.

    Raises:
        DataError: it is too long, or names too many tensors.
        OSError: it cannot be read.
    """
    with os.fdopen(open_regular(path, os.O_RDONLY, follow=True), "rb") as file:
        length = int.from_bytes(file.read(8), "little")
        if length > _MOST_HEADER_BYTES:
            raise DataError(f"{path}: found a header of {length} bytes, expected at most {_MOST_HEADER_BYTES}")
        if (tensors := file.read(length).count(b'"dtype"')) > _MOST_TENSORS:
            raise DataError(f"{path}: found {tensors} tensors, expected at most {_MOST_TENSORS}")


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
    """Writes a .safetensors file with its SHA-256; replaces in one step. Equal content makes equal bytes.

    Raises:
        RunError: the disk is full, or the folder cannot be written to.
    """
    content = {name: value.detach().contiguous().cpu() for name, value in state.items()}
    write_bytes(path, _in_order(save(content, {**metadata, _DIGEST: _digest(content, metadata)})))


def _in_order(content: bytes) -> bytes:
    """A .safetensors file whose header is sorted: the library's has its metadata in another order each time."""
    (length,) = struct.unpack("<Q", content[:8])
    header = json.dumps(json.loads(content[8 : 8 + length]), sort_keys=True, separators=(",", ":")).encode()
    header += b" " * (-len(header) % 8)  # tensors stay aligned
    return b"".join((struct.pack("<Q", len(header)), header, memoryview(content)[8 + length :]))


def load_weights(network: nn.Module, state: Mapping[str, Tensor], path: Path, of: str) -> None:
    """Copies weights from a file that anybody may have written into a network that can then be used.

    Args:
        network: changed in place.
        state: weights by name.
        path: of the file, for complaints.
        of: what they are expected to fit.

    Raises:
        DataError: they have other names, shapes or types than those of the network, or values that nothing can be
            computed with. ``load_state_dict`` would drop imaginary parts and round, without a word.
    """
    check_weights(state, network.state_dict(), path, of)
    network.load_state_dict(dict(state))


def check_weights(state: Mapping[str, Tensor], own: Mapping[str, Tensor], path: Path, of: str) -> None:
    """Compares weights from a file that anybody may have written with those that a network has.

    Raises:
        DataError: as of `load_weights`.
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
        noted = [
            line.partition(" ")[0]
            for line in read_regular(note, _MOST_NOTE_BYTES, follow=True).decode("ascii").splitlines()
        ]
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
