"""Data sets, devices and the static network."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch

from vseg_nas.assembly.check import verify_files
from vseg_nas.assembly.frame_memory import check_frame_memory
from vseg_nas.data import CamVid, CityScapes, ClipSource, ClipTransform, InMemory, SyntheticStreet, resized, training
from vseg_nas.data.datamodule import ClipDataModule
from vseg_nas.data.image_files import FileClips
from vseg_nas.data.inspection import require_labels
from vseg_nas.data.manifest import KnownDigests, Track
from vseg_nas.errors import ConfigError, DataError
from vseg_nas.machine import require_cuda
from vseg_nas.metrics import SegmentationScores
from vseg_nas.models.mobilenet_v2 import load_encoder
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.runs.digests import DATA_NOTE, keep_digests
from vseg_nas.schema import (
    CamVidConfig,
    CityScapesConfig,
    DatasetConfig,
    GpuConfig,
    NetworkConfig,
    PretrainConfig,
    SyntheticConfig,
    TransformConfig,
)
from vseg_nas.training.checkpoints import newest_checkpoint
from vseg_nas.training.collectives import options_of
from vseg_nas.training.fitting import Progress
from vseg_nas.training.pretraining import LAST, pretrain
from vseg_nas.training.ranks import SINGLE_PROCESS, Rank, on_ranks
from vseg_nas.training.static_module import StaticTraining

STRIDE = 32
"""Of the encoder's last layer, whose planes are the smallest."""


class Sources(NamedTuple):
    """The training and validation splits of a data set."""

    train: ClipSource
    val: ClipSource


def build_sources(config: NetworkConfig, length: int | None = None) -> Sources:
    """Opens the training and validation splits; see `build_source`."""
    return Sources(build_source(config, "train", length), build_source(config, "val", length))


def build_source(config: NetworkConfig, split: str, length: int | None = None) -> ClipSource:
    """Opens one split; if `check` has left a manifest, compares the files with it.

    Args:
        config: of the command.
        split: ``train``, ``val``, or ``test`` where that has labels.
        length: frames a clip, successive clips starting one frame apart; None: as configured.

    Raises:
        ConfigError: the data set has no such split.
        DataError: the data set is not there or not as expected, or a file is not what `check` read.
    """
    source = _open(config.dataset, split, length)
    if isinstance(source, FileClips):
        source.known_digests = KnownDigests(Path(config.runs_dir) / "cache" / "digests.json")
    if isinstance(source, FileClips) and source.length <= config.dataset.length:  # longer clips have frames unchecked
        verify_files(Path(config.runs_dir), config.dataset.name, Path(config.dataset.root), source)
    return source


def _open(dataset: DatasetConfig, split: str, length: int | None) -> ClipSource:
    frames = length or dataset.length
    match dataset, split:
        case SyntheticConfig(), "train" | "val":
            size, per_run = (dataset.size[0], dataset.size[1]), dataset.frames_per_run
            check_frame_memory("dataset.size", size)
            clips = dataset.clips if split == "train" else dataset.val_clips
            return InMemory(SyntheticStreet(clips, frames, size, dataset.seed, split, per_run))
        case CamVidConfig(), "train" | "val" | "test":
            return CamVid(Path(str(dataset.root)), split, frames, 1 if length else dataset.stride)
        case CityScapesConfig(), "train" | "val":
            return CityScapes(Path(str(dataset.root)), split, frames)
    raise ConfigError(f"split: found {split}, which has no labels in {dataset.name}, expected train or val")


def keep_data_digests(run_dir: Path, sources: Iterable[ClipSource], track: Track = iter) -> None:
    """Notes the content of the files that a run reads, or compares it; see `keep_digests`.

    Args:
        run_dir: of the run.
        sources: that it reads.
        track: shows how far reading files is.

    Raises:
        DataError: a file is not what it was when the run began.
    """
    files: dict[str, str] = {}
    for source in sources:
        if isinstance(source, FileClips):
            files |= source.digests(track)
    if files:
        keep_digests(run_dir / DATA_NOTE, files, "dataset.root")


def load_static(config: NetworkConfig, classes: tuple[str, ...]) -> StaticSegmenter:
    """The static network of a data set with these classes.

    Raises:
        DataError: the weights cannot be used, or belong to other classes.
    """
    network = StaticSegmenter.load(Path(config.static.weights))
    if network.classes != classes:
        raise DataError(
            f"{config.static.weights}: trained for {len(network.classes)} classes ({network.classes[0]}, ...), "
            f"expected the {len(classes)} of {config.dataset.name}"
        )
    return network


def build_transform(config: TransformConfig) -> ClipTransform:
    """The augmentation of a training phase."""
    height, width = config.crop
    low, high = config.scale
    return training((height, width), (low, high), config.flip, config.jitter)


def check_batches(clips: int, batch_size: int, crop: Sequence[int], key: str, drop_last: bool) -> None:
    """Looks whether every training batch has two values a channel, which batch norm needs, where planes are smallest.

    Args:
        clips: to train on.
        batch_size: clips a batch.
        crop: height and width of the clips.
        key: where ``batch_size`` is configured.
        drop_last: whether a last batch that is not full is dropped, unless it is the only one.

    Raises:
        ConfigError: a batch has one.
    """
    rest = clips % batch_size
    smallest = rest if rest and (clips < batch_size or not drop_last) else batch_size
    height, width = crop
    if smallest * -(-height // STRIDE) * -(-width // STRIDE) < 2:
        raise ConfigError(
            f"{key}.batch_size: found {batch_size}, by which a clip of {height}x{width} is alone in its batch "
            f"({clips} clip{'s' * (clips > 1)}), expected two or more clips in every batch, or crops with a side above "
            f"{STRIDE}: batch norm needs two values"
        )


def trainer_options(config: GpuConfig, rank: Rank = SINGLE_PROCESS) -> dict[str, Any]:
    """Arguments of every Trainer; also sets torch's threads.

    Args:
        config: of the command.
        rank: which of the processes that train together this is.

    Raises:
        ConfigError: a device was asked for that is not there.
    """
    _check_accelerator(config)
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    elif rank.world_size > 1:
        torch.set_num_threads(max(1, torch.get_num_threads() // rank.world_size))
    devices = {"devices": 1} if rank.world_size == 1 else options_of(rank)
    return {"accelerator": device_of(config).type, "precision": config.precision, **devices}


def _check_accelerator(config: GpuConfig) -> None:
    if config.accelerator == "cuda":
        require_cuda("gpu.accelerator", "gpu=cpu or gpu=auto")


def devices_there(config: GpuConfig) -> int:
    """How many devices `gpu.devices` means.

    Raises:
        ConfigError: there are fewer.
    """
    _check_accelerator(config)
    there = torch.cuda.device_count() if device_of(config).type == "cuda" else None
    count = there if config.devices is None else config.devices
    if count is None:
        raise ConfigError("gpu.devices: found null (all CUDA devices) on the CPU, expected a number; use gpu=cpu")
    if there is not None and count > there:
        raise ConfigError(f"gpu.devices: found {count}, expected at most {there}, as many as CUDA devices are there")
    return count


def count_devices(config: GpuConfig, batch_size: int, key: str) -> int:
    """How many devices, and processes, train together.

    Args:
        config: of the command.
        batch_size: of all of them together.
        key: where that is configured.

    Raises:
        ConfigError: there are fewer, or they cannot share a batch evenly.
    """
    count = devices_there(config)
    if batch_size % count:
        raise ConfigError(f"{key}: found {batch_size}, expected a multiple of {count}, the devices that share a batch")
    return count


def device_of(config: GpuConfig) -> torch.device:
    """CUDA if it is wanted, or there and not unwanted; else the CPU."""
    automatic = config.accelerator == "auto" and torch.cuda.is_available()
    return torch.device("cuda" if automatic or config.accelerator == "cuda" else "cpu")


def run_pretraining(config: PretrainConfig, seed: int, weights: Path, report: Progress) -> SegmentationScores:
    """Trains the static network of a data set on single frames and writes ``weights``."""
    count = count_devices(config.gpu, config.phase.pretrain.batch_size, "phase.pretrain.batch_size")
    if count == 1:
        return _pretrain(SINGLE_PROCESS, report, config, seed, weights)
    newest_checkpoint(weights.parent / LAST)  # a damaged one is set aside here, before all ranks see it
    scores: SegmentationScores = on_ranks(count, report, _pretrain, config, seed, weights)
    return scores


def _pretrain(rank: Rank, report: Progress, config: PretrainConfig, seed: int, weights: Path) -> SegmentationScores:
    phase = config.phase.pretrain
    options = trainer_options(config.gpu, rank)
    sources = build_sources(config, length=1)
    for split, source in sources._asdict().items():
        require_labels(source, split)
    check_batches(len(sources.train), phase.batch_size, phase.transform.crop, "phase.pretrain", drop_last=True)
    (height, width), batch = phase.transform.crop, min(phase.batch_size, len(sources.train)) // rank.world_size
    check_frame_memory(
        "phase.pretrain.transform.crop", (height, width), max(1, batch), device_of(config.gpu).type == "cuda"
    )
    data = ClipDataModule(
        sources.train,
        sources.val,
        build_transform(phase.transform),
        resized(),
        phase.batch_size,
        num_workers=config.gpu.workers,
        seed=seed,
        drop_last=len(sources.train) > phase.batch_size,
        rank=rank.index,
        world_size=rank.world_size,
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
