"""Data sets and the static network, and its pre-training."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from vseg_nas.assembly.check import verify_files
from vseg_nas.assembly.frame_memory import check_frame_memory
from vseg_nas.data import CamVid, CityScapes, ClipSource, ClipTransform, InMemory, SyntheticStreet, resized, training
from vseg_nas.data.datamodule import ClipDataModule
from vseg_nas.data.image_files import FileClips
from vseg_nas.data.inspection import require_labels
from vseg_nas.data.manifest import KnownDigests, Track
from vseg_nas.data.settings import (
    CamVidSettings,
    CityScapesSettings,
    DatasetSettings,
    SyntheticSettings,
    TransformSettings,
)
from vseg_nas.errors import ConfigError, DataError
from vseg_nas.metrics import SegmentationScores
from vseg_nas.models.mobilenet_v2 import load_encoder
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.runs.digests import DATA_NOTE, keep_digests
from vseg_nas.training.checkpoints import newest_checkpoint
from vseg_nas.training.device import Device
from vseg_nas.training.fitting import Progress
from vseg_nas.training.pretraining import LAST, pretrain
from vseg_nas.training.ranks import SINGLE_PROCESS, Rank, on_ranks
from vseg_nas.training.settings import StaticTraining

STRIDE = 32
"""Stride of the encoder's last layer, whose planes are the smallest."""


class Sources(NamedTuple):
    """The training and validation splits of a data set."""

    train: ClipSource
    val: ClipSource


def build_sources(dataset: DatasetSettings, runs_dir: str, length: int | None = None) -> Sources:
    """Opens the training and validation splits; see `build_source`."""
    return Sources(*(build_source(dataset, runs_dir, split, length) for split in Sources._fields))


def build_source(dataset: DatasetSettings, runs_dir: str, split: str, length: int | None = None) -> ClipSource:
    """Opens one split; if `check` has left a manifest, compares the files with it.

    Args:
        dataset: The settings of the data set.
        runs_dir: The folder of all runs, in which manifests and known digests lie.
        split: ``train``, ``val``, or ``test`` where that has labels.
        length: The number of frames in a clip, with successive clips starting one frame apart; None takes both from
            the settings.

    Raises:
        ConfigError: The data set has no such split.
        DataError: The data set is not there or not as expected, or a file is not what `check` read.
    """
    source = _open(dataset, split, length)
    if isinstance(source, FileClips):
        assert not isinstance(dataset, SyntheticSettings)
        source.known_digests = KnownDigests(Path(runs_dir) / "cache" / "digests.json")
        if source.length <= dataset.length:  # longer clips have frames that were never checked
            verify_files(Path(runs_dir), dataset.name, Path(str(dataset.root)), source)
    return source


def _open(dataset: DatasetSettings, split: str, length: int | None) -> ClipSource:
    frames = length or dataset.length
    match dataset, split:
        case SyntheticSettings(), "train" | "val":
            check_frame_memory("dataset.size", dataset.size)
            clips = dataset.clips if split == "train" else dataset.val_clips
            return InMemory(SyntheticStreet(clips, frames, dataset.size, dataset.seed, split, dataset.frames_per_run))
        case CamVidSettings(), "train" | "val" | "test":
            return CamVid(Path(str(dataset.root)), split, frames, 1 if length else dataset.stride)
        case CityScapesSettings(), "train" | "val":
            return CityScapes(Path(str(dataset.root)), split, frames)
    raise ConfigError(f"split: found {split}, which has no labels in {dataset.name}, expected train or val")


def keep_data_digests(run_dir: Path, sources: Iterable[ClipSource], track: Track = iter) -> None:
    """Notes the content of the files that a run reads, or compares it; see `keep_digests`.

    Args:
        run_dir: The directory of the run.
        sources: The splits that the run reads.
        track: Shows the progress of reading files.

    Raises:
        DataError: A file is not what it was when the run began.
    """
    files: dict[str, str] = {}
    for source in sources:
        if isinstance(source, FileClips):
            files |= source.digests(track)
    if files:
        keep_digests(run_dir / DATA_NOTE, files, "dataset.root")


def load_static(weights: Path, classes: tuple[str, ...], dataset: str) -> StaticSegmenter:
    """Reads the static network of a data set.

    Args:
        weights: The file that `pretrain` wrote.
        classes: The classes of the data set.
        dataset: The name of the data set.

    Raises:
        DataError: The weights cannot be used, or belong to other classes.
    """
    network = StaticSegmenter.load(weights)
    if network.classes != classes:
        raise DataError(
            f"{weights}: trained for {len(network.classes)} classes ({network.classes[0]}, ...), "
            f"expected the {len(classes)} of {dataset}"
        )
    return network


def build_transform(settings: TransformSettings) -> ClipTransform:
    """Returns the augmentation of a training phase."""
    return training(**dict(settings))


def check_batches(clips: int, batch_size: int, crop: Sequence[int], key: str, drop_last: bool) -> None:
    """Checks that every training batch has two values a channel where planes are smallest, as batch norm needs.

    Args:
        clips: The number of clips to train on.
        batch_size: The number of clips in a batch.
        crop: Height and width of the clips in pixels.
        key: The key under which ``batch_size`` stands.
        drop_last: Whether a last batch that is not full is dropped, unless it is the only one.

    Raises:
        ConfigError: A batch has only one value.
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


@dataclass(frozen=True)
class Pretraining:
    """The pre-training of the static network of a data set on single frames; picklable, for several processes.

    Attributes:
        dataset: The settings of the data set.
        runs_dir: The folder of all runs.
        training: The settings of the training.
        encoder_weights: What the encoder begins with, see `StaticTraining`.
        device: Where and how precisely to compute.
        seed: The seed of initial weights and batches.
        weights: The file to write.
    """

    dataset: DatasetSettings
    runs_dir: str
    training: StaticTraining
    encoder_weights: str | None
    device: Device
    seed: int
    weights: Path

    def run(self, report: Progress) -> SegmentationScores:
        """Trains the network and writes its weights; resumes from a checkpoint beside them.

        Returns:
            The scores on the validation split.
        """
        count = self.device.count_ranks(self.training.batch_size, "phase.pretrain.batch_size")
        if count == 1:
            return self._train(SINGLE_PROCESS, report)
        newest_checkpoint(self.weights.parent / LAST)  # a damaged one is set aside here, before all ranks see it
        scores: SegmentationScores = on_ranks(count, report, self._train)
        return scores

    def _train(self, rank: Rank, report: Progress) -> SegmentationScores:
        self.device.start(rank.world_size)
        sources = build_sources(self.dataset, self.runs_dir, length=1)
        self._check(sources, rank.world_size)
        training = self.training
        data = ClipDataModule(
            sources.train,
            sources.val,
            build_transform(training.transform),
            resized(),
            training.batch_size,
            num_workers=self.device.loader_workers,
            seed=self.seed,
            drop_last=len(sources.train) > training.batch_size,
            rank=rank.index,
            world_size=rank.world_size,
        )
        torch.manual_seed(self.seed)  # initial weights; the batches have generators of their own
        network = StaticSegmenter(sources.train.classes)
        load_encoder(network.encoder, self.encoder_weights)
        return pretrain(network, data, training, self.weights, report, **self.device.trainer_options(rank))

    def _check(self, sources: Sources, world_size: int) -> None:
        """Looks before the training for what would end it."""
        for split, source in sources._asdict().items():
            require_labels(source, split)
        crop, batch_size, clips = self.training.transform.crop, self.training.batch_size, len(sources.train)
        check_batches(clips, batch_size, crop, "phase.pretrain", drop_last=True)
        frames = max(1, min(batch_size, clips) // world_size)
        check_frame_memory("phase.pretrain.transform.crop", crop, frames, self.device.is_cuda)
