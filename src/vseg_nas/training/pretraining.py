"""One pre-training run: fit, checkpoint every epoch, write the weights."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, EMAWeightAveraging

from vseg_nas.errors import ConfigError, NonFiniteError
from vseg_nas.metrics import SegmentationScores
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.training.checkpoints import SaveEveryEpoch
from vseg_nas.training.fitting import EpochProgress, Progress, fit, quiet_trainer, require_finite
from vseg_nas.training.static_module import StaticModule, StaticTraining

LAST = "last.ckpt"


def pretrain(
    network: StaticSegmenter,
    data: pl.LightningDataModule,
    training: StaticTraining,
    epochs: int,
    val_every: int,
    gradient_clip: float,
    average_decay: float | None,
    weights: Path,
    report: Progress,
    **trainer_options: Any,
) -> SegmentationScores:
    """Trains the static network and writes its weights; goes on from a checkpoint beside them if there is one.

    Args:
        network: trained in place.
        data: single frames.
        training: optimiser and losses.
        epochs: over the training split.
        val_every: epochs between validations; the last epoch is always validated.
        gradient_clip: largest norm of the gradient of the encoder, and of that of the decoder.
        average_decay: of an exponential moving average of the weights per step, validated and kept in their place.
        weights: the file to write; its folder takes the checkpoints.
        report: called after every epoch.
        **trainer_options: accelerator, precision.

    Returns:
        The scores on the validation split, at the size of its masks.

    Raises:
        ConfigError: the training diverged.
        DataError: a stored checkpoint cannot be used.
        RunError: a file cannot be written.
    """
    folder = weights.parent
    average = None if average_decay is None else EMAWeightAveraging(decay=average_decay)
    callbacks: list[Callback] = [
        *([] if average is None else [average]),
        SaveEveryEpoch(folder / LAST),
        EpochProgress(report),
    ]
    module = StaticModule(network, training)
    trainer = quiet_trainer(
        folder,
        epochs,
        callbacks,
        check_val_every_n_epoch=val_every,
        gradient_clip_val=gradient_clip,
        **trainer_options,
    )
    try:
        fit(trainer, module, folder / LAST, datamodule=data)
        if average is not None:
            average.on_train_end(trainer, module)  # the fit leaves it out where the checkpoint is of the last epoch
        require_finite(module)
        trainer.validate(module, datamodule=data, verbose=False)
    except NonFiniteError as error:
        raise ConfigError(f"phase.pretrain: {error}, expected finite; lower encoder_lr or decoder_lr") from error
    if trainer.is_global_zero:
        network.save(weights)
    assert module.scores is not None
    return module.scores
