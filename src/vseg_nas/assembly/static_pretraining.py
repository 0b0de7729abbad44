"""The pre-training of the static network of a data set."""

from dataclasses import dataclass
from pathlib import Path

import torch

from vseg_nas.assembly.data_sources import Sources, build_single_frames, build_transform, check_batches
from vseg_nas.assembly.frame_memory import check_frame_memory
from vseg_nas.data import resized
from vseg_nas.data.datamodule import ClipDataModule
from vseg_nas.data.inspection import require_labels
from vseg_nas.data.settings import DatasetSettings
from vseg_nas.metrics import SegmentationScores
from vseg_nas.models.mobilenet_v2 import load_encoder
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.training.checkpoints import newest_checkpoint
from vseg_nas.training.device import Device
from vseg_nas.training.fitting import EpochReport
from vseg_nas.training.pretraining import LAST, pretrain
from vseg_nas.training.ranks import SINGLE_PROCESS, Rank, on_ranks
from vseg_nas.training.settings import StaticTraining


@dataclass(frozen=True)
class Pretraining:
    """The pre-training of the static network of a data set on single frames; picklable, for several processes.

    Attributes:
        dataset: The settings of the data set.
        runs_dir: The folder of all runs.
        training: The settings of the training.
        encoder_weights: The weights that the encoder begins with, as in `StaticSettings`.
        device: The device to compute on, and its precision.
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

    def run(self, report: EpochReport) -> SegmentationScores:
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

    def _train(self, rank: Rank, report: EpochReport) -> SegmentationScores:
        self.device.start(rank.world_size)
        sources = build_single_frames(self.dataset, self.runs_dir)
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
