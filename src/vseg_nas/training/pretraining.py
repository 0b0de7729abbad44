"""Pre-training of the static network: fit, save a checkpoint after every epoch, write the weights."""

from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, EMAWeightAveraging

from vseg_nas.errors import ConfigError, NonFiniteError
from vseg_nas.metrics import SegmentationScores
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.training.checkpoints import SaveEveryEpoch
from vseg_nas.training.fitting import EpochProgress, EpochReport, fit, quiet_trainer, require_finite
from vseg_nas.training.settings import StaticTraining
from vseg_nas.training.static_module import StaticModule

LAST = "last.ckpt"


def pretrain(
    network: StaticSegmenter,
    data: pl.LightningDataModule,
    training: StaticTraining,
    weights: Path,
    report: EpochReport,
    **trainer_options: Any,
) -> SegmentationScores:
    """Trains the static network and writes its weights; resumes from a checkpoint beside them if there is one.

    Args:
        network: The network; it is trained in place.
        data: The data module of single frames.
        training: The settings of the training.
        weights: The file to write; the checkpoints are in its folder.
        report: Called after every epoch.
        **trainer_options: Arguments of the Trainer, such as accelerator and precision.

    Returns:
        The scores on the validation split, at the size of its masks.

    Raises:
        ConfigError: The training diverged.
        DataError: A saved checkpoint cannot be used.
        RunError: A file cannot be written.
    """
    folder = weights.parent
    decay = training.average_decay
    average = None if decay is None else EMAWeightAveraging(decay=decay)
    callbacks: list[Callback] = [
        *([] if average is None else [average]),
        SaveEveryEpoch(folder / LAST),
        EpochProgress(report),
    ]
    module = StaticModule(network, training)
    trainer = quiet_trainer(
        folder,
        training.epochs,
        callbacks,
        check_val_every_n_epoch=training.val_every,
        gradient_clip_val=training.gradient_clip,
        **trainer_options,
    )
    try:
        fit(trainer, module, folder / LAST, datamodule=data)
        if average is not None:
            # Copies the averages into the network. A fit that resumes after its last epoch skips this callback.
            average.on_train_end(trainer, module)
        require_finite(module)
        # The scores are those of the network as it is written, not of the last epoch in which it was validated.
        trainer.validate(module, datamodule=data, verbose=False)
    except NonFiniteError as error:
        raise ConfigError(f"phase.pretrain: {error}, expected finite; lower encoder_lr or decoder_lr") from error
    # All ranks have the same weights; one of them writes.
    if trainer.is_global_zero:
        network.save(weights)
    assert module.scores is not None
    return module.scores
