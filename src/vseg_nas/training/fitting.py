"""Trainers without Lightning's output, and fits that Ctrl-C interrupts as it does any other program."""

import logging
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.environments import LightningEnvironment  # type: ignore[attr-defined]
from torch import nn

from vseg_nas.errors import NonFiniteError
from vseg_nas.training.checkpoints import VerifiedCheckpointIO, newest_checkpoint

EpochReport = Callable[[int, int, dict[str, float]], None]
"""Called after every epoch with the number of finished epochs, the number of all epochs, and the logged metrics."""


_EXPECTED = (
    r".*isinstance\(treespec, LeafSpec\)",  # about how Lightning itself uses torch
    r"Found \d+ module\(s\) in eval mode",  # about frozen batch norms, which are meant to be
    "The '.*_dataloader' does not have many workers",  # 0 is a setting of ours, and cached tensors need none
    "`broadcast_buffers` is deprecated",  # its successor is not in every release of torch that we support
)
"""Patterns of warnings about what is done on purpose."""


_NOWHERE = "no-such-folder"
"""Where Lightning looks for checkpoints of interrupted Slurm jobs, from which it would resume without being asked."""


def quiet_lightning() -> None:
    """Keeps Lightning's remarks on hardware, its advertisements and expected warnings out of the terminal."""
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _EXPECTED:
        warnings.filterwarnings("ignore", message=message)


def quiet_trainer(
    root_dir: Path, epochs: int, callbacks: Sequence[Callback], plugins: Sequence[Any] = (), **options: Any
) -> pl.Trainer:
    """Returns a Trainer without logger, progress bar, summary and sanity check.

    It saves checkpoints only if `SaveEveryEpoch` is among the callbacks.

    Args:
        root_dir: The root folder of the Trainer, in which nothing is written.
        epochs: The number of epochs to fit.
        callbacks: The callbacks of the fit.
        plugins: Plugins besides the one for checkpoints; without any, the fit has one process even under Slurm.
        **options: Further arguments of the Trainer.
    """
    quiet_lightning()
    return pl.Trainer(
        max_epochs=epochs,
        default_root_dir=root_dir / _NOWHERE,
        callbacks=list(callbacks),
        logger=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        plugins=[VerifiedCheckpointIO(), *(plugins or [LightningEnvironment()])],
        **options,
    )


def fit(trainer: pl.Trainer, module: pl.LightningModule, checkpoint: Path | None = None, **loaders: Any) -> None:
    """Fits a module; Ctrl-C raises KeyboardInterrupt instead of Lightning's SystemExit.

    Args:
        trainer: The Trainer that runs the fit.
        module: The module to fit.
        checkpoint: The checkpoint to resume from if it was saved, or the one before it; see `newest_checkpoint`.
        **loaders: ``datamodule``, or ``train_dataloaders`` and ``val_dataloaders``.

    Raises:
        DataError: There is a checkpoint, but none can be used.
        RunError: A checkpoint cannot be written.
    """
    newest = None if checkpoint is None else newest_checkpoint(checkpoint)
    try:
        trainer.fit(module, ckpt_path=newest, weights_only=True if newest else None, **loaders)
    except SystemExit as error:  # Lightning turns Ctrl-C into this, and our commands have their own exit status for it
        if trainer.interrupted:
            raise KeyboardInterrupt from error
        raise


def require_finite(module: nn.Module) -> None:
    """Checks the weights after a fit: its last step may have made them NaN, and no later loss would show that.

    Raises:
        NonFiniteError: A weight or a statistic is NaN or infinite.
    """
    for name, value in module.state_dict().items():
        if not value.isfinite().all():
            raise NonFiniteError(f"NaN or infinite values of {name}")


class EpochProgress(Callback):
    """Reports the logged metrics after every training epoch, with validation scores if there was a validation.

    Args:
        report: Called after every epoch.
    """

    def __init__(self, report: EpochReport) -> None:
        self.report = report

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Reports what was logged in this epoch."""
        epoch = trainer.current_epoch + 1
        validated = epoch % (trainer.check_val_every_n_epoch or 1) == 0
        metrics = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if validated or not name.startswith("val/")  # Lightning keeps those of the last validation
        }
        self.report(epoch, int(trainer.max_epochs or 0), metrics)
