"""Trainers, and fits whose interruption is an interruption."""

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
from vseg_nas.training.checkpoints import NotedCheckpoints, newest_checkpoint

Progress = Callable[[int, int, dict[str, float]], None]
"""Called after an epoch with (epochs done, epochs in all, logged metrics)."""


_EXPECTED = (
    r".*isinstance\(treespec, LeafSpec\)",  # Lightning's own use of torch
    r"Found \d+ module\(s\) in eval mode",  # batch norms of a static network that trains
    "The '.*_dataloader' does not have many workers",  # 0 is a setting; cached tensors need none
    "`broadcast_buffers` is deprecated",  # its successor is not in every release of torch that we support
)


_NOWHERE = "no-such-folder"
"""Where Lightning looks for checkpoints of interrupted Slurm jobs, and would go on from them unasked."""


def quiet_lightning() -> None:
    """Keeps Lightning's notes on hardware, its adverts and warnings of what is meant so out of the terminal."""
    for name in ("pytorch_lightning.utilities.rank_zero", "pytorch_lightning", "lightning_fabric"):
        logging.getLogger(name).setLevel(logging.WARNING)
    for message in _EXPECTED:
        warnings.filterwarnings("ignore", message=message)


def quiet_trainer(
    root_dir: Path, epochs: int, callbacks: Sequence[Callback], plugins: Sequence[Any] = (), **options: Any
) -> pl.Trainer:
    """A Trainer without logger, bar, summary and sanity check; checkpoints only where `SaveEveryEpoch` is among these.

    Args:
        root_dir: nothing is written there.
        epochs: to fit.
        callbacks: of the fit.
        plugins: besides that for checkpoints; none: one process, whatever Slurm's variables say.
        **options: further arguments of the Trainer.
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
        plugins=[NotedCheckpoints(), *(plugins or [LightningEnvironment()])],
        **options,
    )


def fit(trainer: pl.Trainer, module: pl.LightningModule, checkpoint: Path | None = None, **loaders: Any) -> None:
    """Fits; Ctrl-C raises KeyboardInterrupt instead of Lightning's SystemExit.

    Args:
        trainer: runs the fit.
        module: is fitted.
        checkpoint: to go on from if it, or the one before it, was stored; see `newest_checkpoint`.
        **loaders: ``datamodule`` or ``train_dataloaders`` and ``val_dataloaders``.

    Raises:
        DataError: there was a checkpoint, and none can be used.
        RunError: a checkpoint cannot be written.
    """
    newest = None if checkpoint is None else newest_checkpoint(checkpoint)
    try:
        trainer.fit(module, ckpt_path=newest, weights_only=True if newest else None, **loaders)
    except SystemExit as error:
        if trainer.interrupted:
            raise KeyboardInterrupt from error
        raise


def require_finite(module: nn.Module) -> None:
    """Looks at what a fit leaves behind: its last step may have ruined weights that no loss has shown yet.

    Raises:
        NonFiniteError: a weight or a statistic is NaN or infinite.
    """
    for name, value in module.state_dict().items():
        if not value.isfinite().all():
            raise NonFiniteError(f"NaN or infinite values of {name}")


class EpochProgress(Callback):
    """Reports after every training epoch; validation scores where there was a validation."""

    def __init__(self, report: Progress) -> None:
        self.report = report

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Hands on what was logged in this epoch."""
        epoch = trainer.current_epoch + 1
        validated = epoch % (trainer.check_val_every_n_epoch or 1) == 0
        metrics = {
            name: float(value)
            for name, value in trainer.callback_metrics.items()
            if validated or not name.startswith("val/")  # Lightning keeps the last ones
        }
        self.report(epoch, int(trainer.max_epochs or 0), metrics)
