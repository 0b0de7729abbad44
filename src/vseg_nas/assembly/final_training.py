"""The parts of a final training: cached features, frames, the video network, and its two stages."""

import copy
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import torch

from vseg_nas.assembly.data_sources import (
    PAIR,
    build_motion,
    build_source,
    build_sources,
    build_transform,
    check_batches,
)
from vseg_nas.assembly.static_loading import load_static_for
from vseg_nas.data import ClipSource, ClipTransform, resized
from vseg_nas.data.datamodule import ClipDataModule
from vseg_nas.data.inspection import require_labels
from vseg_nas.data.settings import DatasetSettings, TransformSettings
from vseg_nas.metrics import SegmentationScores
from vseg_nas.models.cell import DynamicCell
from vseg_nas.models.propagation import CellPropagation, EachFrame
from vseg_nas.models.segmenter_file import SegmenterSpec, save_segmenter
from vseg_nas.models.settings import Past
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.models.video_segmenter import VideoSegmenter
from vseg_nas.nas.seeds import derive_seed
from vseg_nas.normalisation import IMAGENET_MEAN, IMAGENET_STD
from vseg_nas.runs.digests import digest_of, sha256_of
from vseg_nas.space import Genotype
from vseg_nas.training.cell_module import CellModule, DecoderAsCell
from vseg_nas.training.checkpoints import newest_checkpoint
from vseg_nas.training.device import Device
from vseg_nas.training.features import TrackClips, cached_features
from vseg_nas.training.fitting import EpochReport
from vseg_nas.training.ranks import SINGLE_PROCESS, Rank, on_ranks
from vseg_nas.training.settings import FinalTraining
from vseg_nas.training.video_module import VideoModule
from vseg_nas.training.video_training import restore_trained_cell, train_cell_alone, train_end_to_end

CELL_CHECKPOINT = "cell.ckpt"
VIDEO_CHECKPOINT = "last.ckpt"
SEGMENTER = "video.safetensors"
"""Files of a run directory: the two stages, and the finished network."""

TUNED, DECODER_TUNED = "fine-tuned", "decoder trained on"
"""Names of trainings of the static network: in both stages, and in the first one alone."""

StageView = Callable[[str], AbstractContextManager[EpochReport]]
"""Shows a stage, by its name, while it runs."""


@dataclass(frozen=True)
class CellAndVideoTraining:
    """Trains a cell and its static network in two stages; picklable, as the second may run in several processes.

    Without a cell the static network has the same chances: in the first stage its decoder trains as a cell does, on the
    same cached features; in the second its encoder and decoder train as the encoder and a cell do, on the same frames.

    Attributes:
        dataset: The settings of the data set.
        runs_dir: The folder of all runs, in which features are cached.
        training: The settings of both stages.
        static_weights: The file of the static network that both stages begin with.
        genotype: The cell; None trains the static network.
        name: The name of the cell, which the finished network carries.
        past: What the cell reads as the previous frame.
        flow: Whether the cell's past is warped along optical flow.
        seed: The seed of initial weights and batches.
        device: The device to compute on, and its precision.
        run_dir: The directory of the run, with checkpoints from which each stage resumes.
    """

    dataset: DatasetSettings
    runs_dir: str
    training: FinalTraining
    static_weights: Path
    genotype: Genotype | None
    name: str
    past: Past
    flow: bool
    seed: int
    device: Device
    run_dir: Path

    def run(self, track: TrackClips, view: StageView) -> SegmentationScores:
        """Runs both stages and writes ``video.safetensors``.

        Args:
            track: Shows the progress of caching features.
            view: Shows a stage.

        Returns:
            The scores of the frames after the first on pairs of the validation split.

        Raises:
            ConfigError: The training diverged, or a device is not there.
            DataError: The data set, the static weights or a stored checkpoint cannot be used.
            RunError: A file cannot be written, or one of several processes died.
        """
        batch_size = self.training.video.batch_size
        count = self.device.count_ranks(batch_size, "phase.train.video.batch_size")
        source, segmenter = self._build()
        self._check_data(source)
        if newest_checkpoint(self.run_dir / VIDEO_CHECKPOINT) is None:
            with view("cell alone" if self.genotype else "decoder alone") as report:
                self._train_cell(source, segmenter, track, report)
        with view("end to end") as report:
            if count == 1:
                return self._train_video(SINGLE_PROCESS, report, source, segmenter)
            segmenter.cpu()
            torch.cuda.empty_cache()
            scores: SegmentationScores = on_ranks(count, report, self._train_rank)
            return scores

    def _check_data(self, source: ClipSource) -> None:
        """Looks before the first stage for what would end the second."""
        require_labels(source, "train")
        require_labels(self._pairs(), "val")
        cell, video = self.training.cell, self.training.video
        pairs = self._pairs_per_clip(source)
        check_batches(
            len(source) * pairs, cell.batch_size * pairs, cell.transform.crop, "phase.train.cell", drop_last=False
        )
        check_batches(len(source), video.batch_size, video.transform.crop, "phase.train.video", drop_last=True)

    def _pairs(self) -> ClipSource:
        return build_source(self.dataset, self.runs_dir, "val", PAIR)

    def _transform(self, settings: TransformSettings, source: ClipSource) -> ClipTransform:
        return build_transform(settings, build_motion(self.dataset, source.classes))

    def _build(self) -> tuple[ClipSource, VideoSegmenter]:
        """Returns the training clips, and the network before both stages."""
        source = build_sources(self.dataset, self.runs_dir).train
        static = load_static_for(self.static_weights, source.classes, self.dataset.name).freeze()
        if self.genotype is None:
            return source, VideoSegmenter(static, EachFrame(), key_every=1)
        return source, VideoSegmenter(static, self._initial_cell(self.genotype, static))

    def _initial_cell(self, genotype: Genotype, static: StaticSegmenter) -> CellPropagation:
        with torch.random.fork_rng():
            torch.manual_seed(derive_seed(self.seed, "cell"))
            cell = DynamicCell(genotype)
        classifier = copy.deepcopy(static.decoder.classifier).requires_grad_(True)
        return CellPropagation(cell, classifier, self.past, self.flow)

    def _train_cell(
        self, source: ClipSource, segmenter: VideoSegmenter, track: TrackClips, report: EpochReport
    ) -> None:
        """Runs the first stage, unless it has ended before."""
        module, checkpoint = self._cell_module(source, segmenter), self.run_dir / CELL_CHECKPOINT
        if restore_trained_cell(module, checkpoint):
            return
        features = cached_features(
            Path(self.runs_dir) / "cache",
            segmenter.static,
            source,
            tuple(range(len(source))),
            self._transform(self.training.cell.transform, source),
            self.device.cache_precision,
            self.device.tensors,
            track,
            self.flow,
            for_training=True,
            past_is_current=self.past == "current",
        )
        seed = derive_seed(self.seed, "order of cached clips")
        train_cell_alone(module, features, seed, checkpoint, report, **self.device.trainer_options())

    def _pairs_per_clip(self, source: ClipSource) -> int:
        """Returns into how many cached clips a clip of T frames is cut: T - 1 if the current frame is its own past.

        Batches grow by the same factor, so that a step sees as many frames, and an epoch has as many steps.
        """
        return source.length - 1 if self.past == "current" else 1

    def _cell_module(self, source: ClipSource, segmenter: VideoSegmenter) -> CellModule:
        """Returns what trains the cell of a network, or without one the decoder."""
        cell = self.training.cell
        training = cell.model_copy(update={"batch_size": cell.batch_size * self._pairs_per_clip(source)})
        propagation, decoder = segmenter.propagation, segmenter.static.decoder
        if not isinstance(propagation, CellPropagation):
            decoder.requires_grad_(True)
            return CellModule(DecoderAsCell(decoder), decoder.classifier, training, past="zero")
        seed = derive_seed(self.seed, "damage to cached clips")
        return CellModule(propagation.cell, propagation.classifier, training, propagation.past, seed=seed)

    def _train_rank(self, rank: Rank, report: EpochReport) -> SegmentationScores:
        """Runs the second stage in one of several processes, after the first one."""
        source, segmenter = self._build()
        if newest_checkpoint(self.run_dir / VIDEO_CHECKPOINT) is None:
            ended = restore_trained_cell(self._cell_module(source, segmenter), self.run_dir / CELL_CHECKPOINT)
            assert ended, "the first stage comes before"
        return self._train_video(rank, report, source, segmenter)

    def _train_video(
        self, rank: Rank, report: EpochReport, source: ClipSource, segmenter: VideoSegmenter
    ) -> SegmentationScores:
        """Runs the second stage; the first rank writes ``video.safetensors``."""
        self.device.start(rank.world_size)
        training = self.training.video
        data = ClipDataModule(
            source,
            self._pairs(),
            self._transform(training.transform, source),
            resized(self.training.val_size),
            training.batch_size,
            num_workers=self.device.loader_workers,
            seed=derive_seed(self.seed, "clips"),
            drop_last=len(source) > training.batch_size,
            rank=rank.index,
            world_size=rank.world_size,
        )
        segmenter.static.unfreeze()
        spec = self._spec(source)
        scores = train_end_to_end(
            VideoModule(segmenter, training, json.dumps(spec.to_dict()), derive_seed(self.seed, "damage")),
            data,
            self.run_dir / VIDEO_CHECKPOINT,
            report,
            **self.device.trainer_options(rank),
        )
        if rank.index == 0:
            save_segmenter(segmenter, spec, self.run_dir / SEGMENTER)
        return scores

    def _spec(self, source: ClipSource) -> SegmenterSpec:
        tuned = TUNED if self.training.video.epochs else DECODER_TUNED
        return SegmenterSpec(
            self.name if self.genotype else tuned,
            self.seed,
            self._recipe(),
            source.classes,
            source.palette,
            self.genotype,
            self.past if self.genotype else None,
            self.flow,
            IMAGENET_MEAN,
            IMAGENET_STD,
            self.training.val_size,
        )

    def _recipe(self) -> str:
        """Returns a digest of all that a training depends on besides the cell, what it reads and the seed."""
        static = sha256_of(self.static_weights)
        parts = [
            self.dataset.model_dump(exclude={"root"}),
            self.training.model_dump(),
            self.device.precision,
            self.device.cache_precision,
            static,
        ]
        return digest_of(json.dumps(parts, sort_keys=True))[:12]
