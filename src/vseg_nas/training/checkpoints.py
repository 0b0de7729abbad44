"""Checkpoints of a training that survive kills, full disks and damage.

``last.ckpt`` is the newest and ``last.previous.ckpt`` the one before; ``last.ckpt.sha256`` holds the SHA-256 of both.
A save writes the new file beside them, notes its digest, renames newest to previous, and new to newest. Whatever step
comes last, every file in place has its digest in the note, and one of them is whole.
"""

import hashlib
import io
import os
import re
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins import CheckpointIO

from vseg_nas.errors import DataError, RunError
from vseg_nas.files import flush, partials_of, read_regular, replacing, sha256_of, write_text
from vseg_nas.models.weights import note_of, read_pickled
from vseg_nas.streams import say

_MOST_NOTE_BYTES = 2**16
_NOTED = 8  # more than two: a save that was cut short leaves a digest without a file


class SaveEveryEpoch(Checkpoint):
    """Saves a checkpoint after every training epoch, under one name.

    Args:
        path: see `NotedCheckpoints`.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves."""
        trainer.save_checkpoint(self._path)


class NotedCheckpoints(CheckpointIO):
    """How a Trainer stores checkpoints: in one step, keeping the one before, with digests in a note beside them."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Saves a checkpoint as ``path``, and what was there as `previous_of` it.

        Raises:
            RunError: it cannot be written; those that were there still are.
        """
        path, buffer = Path(path), io.BytesIO()
        torch.save(checkpoint, buffer)
        content = buffer.getbuffer()
        try:
            with replacing(path) as partial:
                partial.write_bytes(content)
                flush(partial)
                earlier = _noted(path) if note_of(path).is_file() else []
                digests = [hashlib.sha256(content).hexdigest(), *earlier][:_NOTED]
                write_text(note_of(path), "".join(f"{digest}\n" for digest in digests))
                if path.is_file():
                    os.replace(path, previous_of(path))
        finally:
            if not (path.is_file() or previous_of(path).is_file()):  # a first save that was cut short leaves nothing
                with suppress(OSError):
                    note_of(path).unlink(missing_ok=True)

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Reads a checkpoint that `newest_checkpoint` named, as data alone.

        Raises:
            DataError: it is no checkpoint.
        """
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Nothing that was stored is removed."""
        raise NotImplementedError


def previous_of(path: Path) -> Path:
    """``last.previous.ckpt`` of ``last.ckpt``."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def newest_checkpoint(path: Path) -> Path | None:
    """The newest checkpoint that is as it was written: ``path``, or the one before if that is damaged.

    A damaged one is renamed to ``*.corrupt``, with a line on stderr.

    Returns:
        None where none was ever stored.

    Raises:
        DataError: there was one, and none can be used.
        RunError: a damaged one cannot be renamed.
    """
    files = [file for file in (path, previous_of(path)) if file.is_file()]
    if not files:
        if note_of(path).is_file() and not partials_of(path):
            raise DataError(f"{path}: not found, expected as {note_of(path).name} names one; {_anew(path)}")
        return None  # the note alone, and a part: the first save was cut short
    digests = _noted(path)
    found = [_digest(file) for file in files]
    whole = [file for file, digest in zip(files, found, strict=True) if digest in digests]
    if not whole:
        raise DataError(
            f"{files[0]}: damaged (SHA-256 found {found[0][:12]}, expected {digests[0][:12]}), "
            f"and there is none before it; {_anew(path)}"
        )
    if whole[0] != files[0]:
        aside = files[0].with_name(f"{files[0].name}.corrupt")
        try:
            os.replace(files[0], aside)
        except OSError as error:
            raise RunError(f"{files[0]}: damaged, and cannot be renamed to {aside.name} ({error.strerror})") from error
        say(f"warning: {files[0]}: damaged, now {aside.name}; going on from {whole[0].name}")
    return whole[0]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Content of a Lightning checkpoint, read as data alone.

    Raises:
        DataError: it is none.
    """
    content = read_pickled(path)
    if not isinstance(content, dict) or not {"state_dict", "epoch", "loops"} <= content.keys():
        raise DataError(f"{path}: expected a Lightning checkpoint")
    return content


def _anew(path: Path) -> str:
    return f"put a copy back, or remove {path.stem}.* to train that stage anew"


def _digest(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _noted(path: Path) -> list[str]:
    """Digests of the checkpoints that ``path`` and `previous_of` it may be, newest first."""
    note = note_of(path)
    try:
        lines = [line.partition(" ")[0] for line in read_regular(note, _MOST_NOTE_BYTES).decode("ascii").splitlines()]
    except FileNotFoundError:
        raise DataError(f"{note}: not found, expected the SHA-256 of {path.name}; {_anew(path)}") from None
    except (OSError, ValueError) as error:
        raise DataError(f"{note}: cannot be read ({error})") from error
    if not lines or not all(re.fullmatch("[0-9a-f]{64}", line) for line in lines):
        raise DataError(f"{note}: damaged, expected SHA-256 digests; {_anew(path)}")
    return lines
