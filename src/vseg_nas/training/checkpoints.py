"""Checkpoints of a training that survive kills, full disks and damage.

``last.ckpt`` is the newest checkpoint and ``last.previous.ckpt`` the one before; the checksum file ``last.ckpt.sha256``
holds the SHA-256 of both. A save takes four steps: write the new file beside them, add its digest to the checksum file,
rename newest to previous, rename new to newest. After each step, the digest of every file is in the checksum file and
at least one checkpoint is complete, so a save may be killed at any moment.
"""

import io
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Checkpoint
from pytorch_lightning.plugins import CheckpointIO

from vseg_nas.errors import DataError, RunError
from vseg_nas.models.weights import read_pickled
from vseg_nas.runs.digests import checksum_path, checksums_of, digest_of, sha256_of
from vseg_nas.runs.files import flush, partials_of, replacing, write_text
from vseg_nas.runs.streams import say

_KEPT_CHECKSUMS = 8  # more than the two in use, since a save that was killed leaves a digest without a file


class SaveEveryEpoch(Checkpoint):
    """Saves a checkpoint after every training epoch, always under the same name.

    Args:
        path: The path of the newest checkpoint.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Saves a checkpoint."""
        trainer.save_checkpoint(self._path)


class VerifiedCheckpointIO(CheckpointIO):
    """Stores the checkpoints of a Trainer atomically, keeps the previous one, and writes their SHA-256 beside them."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any | None = None) -> None:
        """Saves a checkpoint as ``path``; the file that was there becomes `previous_of` it.

        Raises:
            RunError: It cannot be written; the checkpoints that existed are unchanged.
        """
        path, buffer = Path(path), io.BytesIO()
        torch.save(checkpoint, buffer)
        content = buffer.getbuffer()
        try:
            with replacing(path) as partial:
                partial.write_bytes(content)
                flush(partial)
                earlier = _checksums(path) if checksum_path(path).is_file() else []
                digests = [digest_of(content), *earlier][:_KEPT_CHECKSUMS]
                write_text(checksum_path(path), "".join(f"{digest}\n" for digest in digests))
                if path.is_file():
                    os.replace(path, previous_of(path))
        finally:
            if not (path.is_file() or previous_of(path).is_file()):  # a first save that has failed leaves nothing
                with suppress(OSError):
                    checksum_path(path).unlink(missing_ok=True)

    def load_checkpoint(
        self, path: str | Path, map_location: Any | None = None, weights_only: bool | None = None
    ) -> dict[str, Any]:
        """Reads a checkpoint that `newest_checkpoint` has returned; nothing in it is executed.

        Raises:
            DataError: The file is not a checkpoint.
        """
        return read_checkpoint(Path(path))

    def remove_checkpoint(self, path: str | Path) -> None:
        """Is never called, since no checkpoint is removed."""
        raise NotImplementedError


def previous_of(path: Path) -> Path:
    """Returns the path of the checkpoint before: ``last.previous.ckpt`` for ``last.ckpt``."""
    return path.with_name(f"{path.stem}.previous{path.suffix}")


def newest_checkpoint(path: Path) -> Path | None:
    """Returns the newest undamaged checkpoint: ``path``, or the one before if that is damaged.

    A damaged one is renamed to ``*.corrupt``, with a warning on stderr.

    Args:
        path: The path of the newest checkpoint.

    Returns:
        The path of the checkpoint; None if none was ever saved.

    Raises:
        DataError: A checkpoint was saved, but none can be used.
        RunError: A damaged checkpoint cannot be renamed.
    """
    files = [file for file in (path, previous_of(path)) if file.is_file()]
    if not files:
        if checksum_path(path).is_file() and not partials_of(path):
            named = checksum_path(path).name
            raise DataError(f"{path}: not found, expected as {named} names one; {_how_to_repair(path)}")
        return None  # a checksum file and a partial file: the first save was killed
    digests = _checksums(path)
    found = [_digest(file) for file in files]
    whole = [file for file, digest in zip(files, found, strict=True) if digest in digests]
    if not whole:
        raise DataError(
            f"{files[0]}: damaged (SHA-256 found {found[0][:12]}, expected {digests[0][:12]}), "
            f"and there is none before it; {_how_to_repair(path)}"
        )
    if whole[0] != files[0]:
        aside = files[0].with_name(f"{files[0].name}.corrupt")
        try:
            os.replace(files[0], aside)
        except OSError as error:
            raise RunError(f"{files[0]}: damaged, and cannot be renamed to {aside.name} ({error.strerror})") from error
        say(f"warning: {files[0]}: damaged, now {aside.name}; resuming from {whole[0].name}")
    return whole[0]


def read_checkpoint(path: Path) -> dict[str, Any]:
    """Returns the content of a Lightning checkpoint; nothing in it is executed.

    Raises:
        DataError: The file is not a checkpoint.
    """
    content = read_pickled(path)
    if not isinstance(content, dict) or not {"state_dict", "epoch", "loops"} <= content.keys():
        raise DataError(f"{path}: expected a Lightning checkpoint")
    return content


def _how_to_repair(path: Path) -> str:
    return f"put a copy back, or remove {path.stem}.* to train that stage again"


def _digest(path: Path) -> str:
    try:
        return sha256_of(path)
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error


def _checksums(path: Path) -> list[str]:
    """Returns the digests that ``path`` and `previous_of` it may have, newest first."""
    file = checksum_path(path)
    try:
        return checksums_of(path)
    except FileNotFoundError:
        raise DataError(f"{file}: not found, expected the SHA-256 of {path.name}; {_how_to_repair(path)}") from None
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{file}: cannot be read ({error})") from error
    except ValueError as error:
        raise DataError(f"{file}: {error}; {_how_to_repair(path)}") from error
