"""Data sets, devices and the static network."""

from pathlib import Path
from typing import Any, NamedTuple

import torch

from vseg_nas.data import CamVid, CityScapes, ClipSource, ClipTransform, InMemory, SyntheticStreet, resized, training
from vseg_nas.data.datamodule import ClipDataModule
from vseg_nas.errors import ConfigError
from vseg_nas.metrics import SegmentationScores
from vseg_nas.models.mobilenet_v2 import load_encoder
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.schema import (
    CamVidConfig,
    CityScapesConfig,
    DatasetConfig,
    GpuConfig,
    PretrainConfig,
    SyntheticConfig,
    TransformConfig,
)
from vseg_nas.training.fitting import Progress
from vseg_nas.training.pretraining import pretrain
from vseg_nas.training.static_module import StaticTraining


class Sources(NamedTuple):
    """The training and validation splits of a data set."""

    train: ClipSource
    val: ClipSource


def build_sources(config: DatasetConfig, length: int | None = None) -> Sources:
    """Opens the training and validation splits.

    Args:
        config: of the data set.
        length: frames a clip, successive clips starting one frame apart; None: as configured.

    Raises:
        DataError: the data set is not there or not as expected.
    """
    frames = length or config.length
    match config:
        case SyntheticConfig():
            size, per_run = (config.size[0], config.size[1]), config.frames_per_run
            return Sources(
                InMemory(SyntheticStreet(config.clips, frames, size, config.seed, "train", per_run)),
                InMemory(SyntheticStreet(config.val_clips, frames, size, config.seed, "val", per_run)),
            )
        case CamVidConfig():
            stride = 1 if length else config.stride
            root = Path(str(config.root))
            return Sources(CamVid(root, "train", frames, stride), CamVid(root, "val", frames, stride))
        case CityScapesConfig():
            root = Path(str(config.root))
            return Sources(CityScapes(root, "train", frames), CityScapes(root, "val", frames))


def build_transform(config: TransformConfig) -> ClipTransform:
    """The augmentation of a training phase."""
    height, width = config.crop
    low, high = config.scale
    return training((height, width), (low, high), config.flip, config.jitter)


def trainer_options(config: GpuConfig) -> dict[str, Any]:
    """Arguments of every Trainer; also sets torch's threads.

    Raises:
        ConfigError: a device was asked for that is not there.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    device = device_of(config)
    if config.accelerator == "cuda" and not torch.cuda.is_available():
        raise ConfigError("gpu.accelerator: found no CUDA device, expected one; use gpu=cpu or gpu=auto")
    return {"accelerator": device.type, "devices": 1, "precision": config.precision}


def device_of(config: GpuConfig) -> torch.device:
    """CUDA if it is wanted, or there and not unwanted; else the CPU."""
    automatic = config.accelerator == "auto" and torch.cuda.is_available()
    return torch.device("cuda" if automatic or config.accelerator == "cuda" else "cpu")


def run_pretraining(config: PretrainConfig, seed: int, weights: Path, report: Progress) -> SegmentationScores:
    """Trains the static network of a data set on single frames and writes ``weights``."""
    phase = config.phase.pretrain
    options = trainer_options(config.gpu)
    sources = build_sources(config.dataset, length=1)
    data = ClipDataModule(
        sources.train,
        sources.val,
        build_transform(phase.transform),
        resized(),
        phase.batch_size,
        num_workers=config.gpu.workers,
        seed=seed,
        drop_last=len(sources.train) > phase.batch_size,
    )
    torch.manual_seed(seed)  # initial weights; the batches have generators of their own
    network = StaticSegmenter(sources.train.classes)
    load_encoder(network.encoder, config.static.encoder_weights)
    recipe = StaticTraining(
        phase.encoder_lr,
        phase.decoder_lr,
        phase.momentum,
        phase.weight_decay,
        phase.power,
        phase.auxiliary_weight,
    )
    return pretrain(
        network,
        data,
        recipe,
        phase.epochs,
        phase.val_every,
        phase.gradient_clip,
        phase.average_decay,
        weights,
        report,
        **options,
    )
