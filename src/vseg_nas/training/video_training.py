"""The two stages of final training (section 4.2): the cell alone on cached features, then the whole network on frames.

Each stage saves a Lightning checkpoint after every epoch and resumes from it.
"""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback

from vseg_nas.data.feature_cache import StaticFeatures
from vseg_nas.errors import ConfigError, NonFiniteError
from vseg_nas.metrics import SegmentationScores
from vseg_nas.training.cell_module import CellModule
from vseg_nas.training.checkpoints import SaveEveryEpoch, newest_checkpoint, read_checkpoint
from vseg_nas.training.features import FeatureBatches
from vseg_nas.training.fitting import EpochProgress, EpochReport, fit, quiet_trainer, require_finite
from vseg_nas.training.video_module import VideoModule


class _Shuffling(Callback):
    """Stores the state of the generator that shuffles cached features, so that a resumed fit sees the same batches."""

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    def state_dict(self) -> dict[str, Any]:
        return {"generator": self.generator.get_state()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.generator.set_state(state_dict["generator"])


class _Loss(Callback):
    """Logs the mean loss of an epoch, which `CellModule` does not do because the search does not need it."""

    def on_train_batch_end(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, outputs: Any, batch: StaticFeatures, batch_idx: int
    ) -> None:
        pl_module.log("train/loss", outputs["loss"], on_step=False, on_epoch=True, batch_size=batch.clips)


def train_cell_alone(
    module: CellModule,
    features: StaticFeatures,
    seed: int,
    checkpoint: Path,
    report: EpochReport,
    **trainer_options: Any,
) -> None:
    """Runs the first stage: it trains the cell on features of the static network, which does not change.

    Args:
        module: The cell; it is trained in place.
        features: The features of the training clips.
        seed: The seed of the order of clips.
        checkpoint: The checkpoint that is saved after every epoch; the fit resumes from it if it exists.
        report: Called after every epoch.
        **trainer_options: Arguments of the Trainer, such as accelerator and precision.

    Raises:
        ConfigError: The training diverged.
        DataError: A saved checkpoint cannot be used.
        RunError: A checkpoint cannot be written.
    """
    options = module.train().options  # Lightning fits modules in the mode that they are in
    shuffling = _Shuffling(torch.Generator().manual_seed(seed))
    batches = FeatureBatches(features, options.batch_size, shuffling.generator)
    callbacks = [shuffling, _Loss(), SaveEveryEpoch(checkpoint), EpochProgress(report)]
    trainer = quiet_trainer(
        checkpoint.parent, options.epochs, callbacks, gradient_clip_val=options.gradient_clip, **trainer_options
    )
    try:
        fit(trainer, module, checkpoint, train_dataloaders=batches)
        require_finite(module)
    except NonFiniteError as error:
        raise ConfigError(f"phase.train.cell: {error}, expected finite; lower lr") from error


def restore_trained_cell(module: CellModule, checkpoint: Path) -> bool:
    """Loads the weights of a first stage that has finished, so that its features need not be computed.

    Returns:
        Whether the stage has finished; if not, nothing is loaded.

    Raises:
        DataError: A saved checkpoint cannot be used.
    """
    newest = newest_checkpoint(checkpoint)
    content = None if newest is None else read_checkpoint(newest)
    if content is None or content["epoch"] + 1 < module.options.epochs:
        return False
    module.load_state_dict(content["state_dict"])
    return True


def train_end_to_end(
    module: VideoModule,
    data: pl.LightningDataModule,
    checkpoint: Path,
    report: EpochReport,
    **trainer_options: Any,
) -> SegmentationScores:
    """Runs the second stage: it trains all weights on clips.

    Args:
        module: The network; it is trained in place.
        data: The data module of clips.
        checkpoint: The checkpoint that is saved after every epoch; the fit resumes from it if it exists.
        report: Called after every epoch.
        **trainer_options: Arguments of the Trainer, such as accelerator, devices and precision.

    Returns:
        The scores of the frames after the first of the validation clips, at the size of their masks.

    Raises:
        ConfigError: The training diverged.
        DataError: A saved checkpoint cannot be used.
        RunError: A checkpoint cannot be written.
    """
    training = module.options
    trainer = quiet_trainer(
        checkpoint.parent,
        training.epochs,
        [SaveEveryEpoch(checkpoint), EpochProgress(report)],
        check_val_every_n_epoch=training.val_every,
        gradient_clip_val=training.gradient_clip,
        **trainer_options,
    )
    try:
        fit(trainer, module, checkpoint, datamodule=data)
        require_finite(module)
        trainer.validate(module, datamodule=data, verbose=False)
    except NonFiniteError as error:
        raise ConfigError(f"phase.train.video: {error}, expected finite; lower cell_lr or static_lr") from error
    assert module.scores is not None
    return module.scores
