"""The parts of a final training: cached features, frames, the video network, and its two stages."""

import copy
import hashlib
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path

import torch

from vseg_nas.assembly.static import build_source, build_transform, device_of, load_static, trainer_options
from vseg_nas.data import ClipSource, resized
from vseg_nas.data.datamodule import ClipDataModule
from vseg_nas.data.still import StillClips
from vseg_nas.metrics import SegmentationScores
from vseg_nas.models.cell import DynamicCell
from vseg_nas.models.propagation import CellPropagation
from vseg_nas.models.segmenter_file import SegmenterSpec, save_segmenter
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.models.video import VideoSegmenter
from vseg_nas.nas.trial import derive_seed
from vseg_nas.normalisation import IMAGENET_MEAN, IMAGENET_STD
from vseg_nas.schema import TrainConfig
from vseg_nas.space import Genotype
from vseg_nas.training.cell_module import CellModule, CellTraining
from vseg_nas.training.checkpoints import newest_checkpoint
from vseg_nas.training.features import Track, cached_features
from vseg_nas.training.fitting import Progress
from vseg_nas.training.video_module import VideoModule, VideoTraining
from vseg_nas.training.video_training import restore_trained_cell, train_cell_alone, train_end_to_end

CELL_CHECKPOINT = "cell.ckpt"
VIDEO_CHECKPOINT = "last.ckpt"
SEGMENTER = "video.safetensors"
"""Files of a run directory: the two stages, and the finished network."""

_PAIR = 2


StageView = Callable[[str], AbstractContextManager[Progress]]
"""Shows a stage, by its name, while it runs."""


def run_training(
    config: TrainConfig, genotype: Genotype, run_dir: Path, track: Track, view: StageView
) -> SegmentationScores:
    """Trains a cell and its static network and writes ``video.safetensors``; goes on from checkpoints beside it.

    Returns:
        The scores of the frames after the first on pairs of the validation split.

    Raises:
        ConfigError: the training diverged, or a device is not there.
        DataError: the data set, the static weights or a stored checkpoint cannot be used.
        RunError: a file cannot be written.
    """
    source = build_source(config.dataset, "train")
    static = load_static(config, source.classes).freeze()
    propagation = _initial_cell(config, genotype, static)
    segmenter = VideoSegmenter(static, propagation)
    if newest_checkpoint(run_dir / VIDEO_CHECKPOINT) is None:
        with view("cell alone") as report:
            _train_cell(config, source, segmenter, run_dir / CELL_CHECKPOINT, track, report)
    spec = _spec(config, genotype, source)
    with view("end to end") as report:
        scores = _train_video(config, source, segmenter, spec, run_dir / VIDEO_CHECKPOINT, report)
    save_segmenter(segmenter, spec, run_dir / SEGMENTER)
    return scores


def _initial_cell(config: TrainConfig, genotype: Genotype, static: StaticSegmenter) -> CellPropagation:
    with torch.random.fork_rng():
        torch.manual_seed(derive_seed(config.seed, "cell"))
        cell = DynamicCell(genotype)
    classifier = copy.deepcopy(static.decoder.classifier).requires_grad_(True)
    return CellPropagation(cell, classifier, config.past, config.flow)  # type: ignore[arg-type]  # one of Past


def _train_cell(
    config: TrainConfig,
    source: ClipSource,
    segmenter: VideoSegmenter,
    checkpoint: Path,
    track: Track,
    report: Progress,
) -> None:
    """The first stage. A cell that reads the current frame as its past learns from clips that stand still."""
    stage = config.phase.train.cell
    clips, batch_size = source, stage.batch_size
    if config.past == "current":
        clips = StillClips(source)
        batch_size *= source.length - 1  # as many frames a step, and steps an epoch, as for clips that move
    training = CellTraining(stage.epochs, batch_size, stage.lr, stage.weight_decay, stage.gradient_clip)
    propagation = segmenter.propagation
    assert isinstance(propagation, CellPropagation)
    module = CellModule(propagation.cell, propagation.classifier, training, config.past != "zero")
    if restore_trained_cell(module, checkpoint):
        return
    features = cached_features(
        Path(config.runs_dir) / "cache",
        segmenter.static,
        clips,
        tuple(range(len(clips))),
        build_transform(stage.transform),
        config.gpu.cache_precision,
        device_of(config.gpu),
        track,
        config.flow,
    )
    seed = derive_seed(config.seed, "order of cached clips")
    train_cell_alone(module, features, seed, checkpoint, report, **trainer_options(config.gpu))


def _train_video(
    config: TrainConfig,
    source: ClipSource,
    segmenter: VideoSegmenter,
    spec: SegmenterSpec,
    checkpoint: Path,
    report: Progress,
) -> SegmentationScores:
    stage, val_size = config.phase.train.video, config.phase.train.val_size
    data = ClipDataModule(
        source,
        build_source(config.dataset, "val", _PAIR),
        build_transform(stage.transform),
        resized(None if val_size is None else (val_size[0], val_size[1])),
        stage.batch_size,
        num_workers=config.gpu.workers,
        seed=derive_seed(config.seed, "clips"),
        drop_last=len(source) > stage.batch_size,
    )
    training = VideoTraining(
        stage.cell_lr, stage.static_lr, stage.momentum, stage.weight_decay, stage.power, stage.static_weight
    )
    segmenter.static.unfreeze()
    module = VideoModule(segmenter, training, json.dumps(spec.to_dict()))
    return train_end_to_end(
        module,
        data,
        stage.epochs,
        stage.val_every,
        stage.gradient_clip,
        checkpoint,
        report,
        **trainer_options(config.gpu),
    )


def _spec(config: TrainConfig, genotype: Genotype, source: ClipSource) -> SegmenterSpec:
    size = config.phase.train.val_size
    return SegmenterSpec(
        Path(config.cell).name.removesuffix(".json")[:100],
        config.seed,
        _recipe(config),
        source.classes,
        source.palette,
        genotype,
        config.past,  # type: ignore[arg-type]  # one of Past
        config.flow,
        IMAGENET_MEAN,
        IMAGENET_STD,
        None if size is None else (size[0], size[1]),
    )


def _recipe(config: TrainConfig) -> str:
    """A digest of all that a training depends on besides the cell, what it reads and the seed."""
    dataset = {key: value for key, value in asdict(config.dataset).items() if key != "root"}
    static = hashlib.sha256(Path(config.static.weights).read_bytes()).hexdigest()
    parts = [dataset, asdict(config.phase.train), config.gpu.precision, config.gpu.cache_precision, static]
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
