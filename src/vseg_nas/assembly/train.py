"""The parts of a final training: cached features, frames, the video network, and its two stages."""

import copy
import json
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import asdict
from pathlib import Path

import torch

from vseg_nas.assembly.cells import cell_name
from vseg_nas.assembly.static import (
    build_source,
    build_transform,
    check_batches,
    count_devices,
    device_of,
    load_static,
    trainer_options,
)
from vseg_nas.data import ClipSource, resized
from vseg_nas.data.datamodule import ClipDataModule
from vseg_nas.data.inspection import require_labels
from vseg_nas.data.wrappers import StillClips
from vseg_nas.metrics import SegmentationScores
from vseg_nas.models.cell import DynamicCell
from vseg_nas.models.propagation import CellPropagation, EachFrame
from vseg_nas.models.segmenter_file import SegmenterSpec, save_segmenter
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.models.video import VideoSegmenter
from vseg_nas.nas.trial import derive_seed
from vseg_nas.normalisation import IMAGENET_MEAN, IMAGENET_STD
from vseg_nas.runs.digests import digest_of, sha256_of
from vseg_nas.schema import TrainConfig
from vseg_nas.space import Genotype
from vseg_nas.training.cell_module import CellModule, CellTraining, DecoderAsCell
from vseg_nas.training.checkpoints import newest_checkpoint
from vseg_nas.training.features import Track, cached_features
from vseg_nas.training.fitting import Progress
from vseg_nas.training.ranks import SINGLE_PROCESS, Rank, on_ranks
from vseg_nas.training.video_module import VideoModule, VideoTraining
from vseg_nas.training.video_training import restore_trained_cell, train_cell_alone, train_end_to_end

CELL_CHECKPOINT = "cell.ckpt"
VIDEO_CHECKPOINT = "last.ckpt"
SEGMENTER = "video.safetensors"
"""Files of a run directory: the two stages, and the finished network."""

TUNED, DECODER_TUNED = "fine-tuned", "decoder trained on"
"""Names of trainings of the static network: in both stages, and in the first one alone."""

_PAIR = 2


StageView = Callable[[str], AbstractContextManager[Progress]]
"""Shows a stage, by its name, while it runs."""


def run_training(
    config: TrainConfig, genotype: Genotype | None, run_dir: Path, track: Track, view: StageView
) -> SegmentationScores:
    """Trains a cell and its static network and writes ``video.safetensors``; goes on from checkpoints beside it.

    Without a cell the static network has the same chances: in the first stage its decoder trains as a cell does, on the
    same cached features; in the second its encoder and decoder train as the encoder and a cell do, on the same frames.

    Returns:
        The scores of the frames after the first on pairs of the validation split.

    Raises:
        ConfigError: the training diverged, or a device is not there.
        DataError: the data set, the static weights or a stored checkpoint cannot be used.
        RunError: a file cannot be written, or one of several processes died.
    """
    count = count_devices(config.gpu, config.phase.train.video.batch_size, "phase.train.video.batch_size")
    source, segmenter = _build(config, genotype)
    _check_data(config, source)
    if newest_checkpoint(run_dir / VIDEO_CHECKPOINT) is None:
        with view("cell alone" if genotype else "decoder alone") as report:
            _train_cell(config, source, segmenter, run_dir / CELL_CHECKPOINT, track, report)
    with view("end to end") as report:
        if count == 1:
            return _train_video(SINGLE_PROCESS, report, config, genotype, run_dir, source, segmenter)
        segmenter.cpu()
        torch.cuda.empty_cache()
        scores: SegmentationScores = on_ranks(count, report, _train_rank, config, genotype, run_dir)
        return scores


def _check_data(config: TrainConfig, source: ClipSource) -> None:
    """Looks before the first stage for what would end the second."""
    require_labels(source, "train")
    require_labels(build_source(config, "val", _PAIR), "val")
    cell, video = config.phase.train.cell, config.phase.train.video
    clips, batch_size = _cell_clips(config, source), _cell_batch_size(config, source)
    check_batches(len(clips), batch_size, cell.transform.crop, "phase.train.cell", drop_last=False)
    check_batches(len(source), video.batch_size, video.transform.crop, "phase.train.video", drop_last=True)


def _build(config: TrainConfig, genotype: Genotype | None) -> tuple[ClipSource, VideoSegmenter]:
    """The training clips, and the network before both stages."""
    source = build_source(config, "train")
    static = load_static(config, source.classes).freeze()
    if genotype is None:
        return source, VideoSegmenter(static, EachFrame(), key_every=1)
    return source, VideoSegmenter(static, _initial_cell(config, genotype, static))


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
    """The first stage, unless it has ended before."""
    module = _cell_module(config, source, segmenter)
    if restore_trained_cell(module, checkpoint):
        return
    clips = _cell_clips(config, source)
    features = cached_features(
        Path(config.runs_dir) / "cache",
        segmenter.static,
        clips,
        tuple(range(len(clips))),
        build_transform(config.phase.train.cell.transform),
        config.gpu.cache_precision,
        device_of(config.gpu),
        track,
        config.flow,
        for_training=True,
    )
    seed = derive_seed(config.seed, "order of cached clips")
    train_cell_alone(module, features, seed, checkpoint, report, **trainer_options(config.gpu))


def _cell_clips(config: TrainConfig, source: ClipSource) -> ClipSource:
    """What the first stage learns from; clips that stand still for a cell that reads the current frame as its past."""
    return StillClips(source) if config.past == "current" else source


def _cell_batch_size(config: TrainConfig, source: ClipSource) -> int:
    """Of clips that stand still, as many frames a step, and steps an epoch, as of clips that move."""
    return config.phase.train.cell.batch_size * (source.length - 1 if config.past == "current" else 1)


def _cell_module(config: TrainConfig, source: ClipSource, segmenter: VideoSegmenter) -> CellModule:
    """Trains the cell of a network, or without one the decoder."""
    stage = config.phase.train.cell
    training = CellTraining(
        stage.epochs,
        _cell_batch_size(config, source),
        stage.lr,
        stage.weight_decay,
        stage.gradient_clip,
        stage.schedule,  # type: ignore[arg-type]  # checked by the schema
    )
    propagation, decoder = segmenter.propagation, segmenter.static.decoder
    if not isinstance(propagation, CellPropagation):
        decoder.requires_grad_(True)
        return CellModule(DecoderAsCell(decoder), decoder.classifier, training, past="zero")
    return CellModule(propagation.cell, propagation.classifier, training, propagation.past)


def _train_rank(
    rank: Rank, report: Progress, config: TrainConfig, genotype: Genotype | None, run_dir: Path
) -> SegmentationScores:
    """The second stage in one of several processes, after the first one."""
    source, segmenter = _build(config, genotype)
    if newest_checkpoint(run_dir / VIDEO_CHECKPOINT) is None:
        ended = restore_trained_cell(_cell_module(config, source, segmenter), run_dir / CELL_CHECKPOINT)
        assert ended, "the first stage comes before"
    return _train_video(rank, report, config, genotype, run_dir, source, segmenter)


def _train_video(
    rank: Rank,
    report: Progress,
    config: TrainConfig,
    genotype: Genotype | None,
    run_dir: Path,
    source: ClipSource,
    segmenter: VideoSegmenter,
) -> SegmentationScores:
    """The second stage; the first rank writes ``video.safetensors``."""
    stage, val_size = config.phase.train.video, config.phase.train.val_size
    data = ClipDataModule(
        source,
        build_source(config, "val", _PAIR),
        build_transform(stage.transform),
        resized(None if val_size is None else (val_size[0], val_size[1])),
        stage.batch_size,
        num_workers=config.gpu.workers,
        seed=derive_seed(config.seed, "clips"),
        drop_last=len(source) > stage.batch_size,
        rank=rank.index,
        world_size=rank.world_size,
    )
    training = VideoTraining(
        stage.cell_lr, stage.static_lr, stage.momentum, stage.weight_decay, stage.power, stage.static_weight
    )
    segmenter.static.unfreeze()
    spec = _spec(config, genotype, source)
    scores = train_end_to_end(
        VideoModule(segmenter, training, json.dumps(spec.to_dict())),
        data,
        stage.epochs,
        stage.val_every,
        stage.gradient_clip,
        run_dir / VIDEO_CHECKPOINT,
        report,
        **trainer_options(config.gpu, rank),
    )
    if rank.index == 0:
        save_segmenter(segmenter, spec, run_dir / SEGMENTER)
    return scores


def _spec(config: TrainConfig, genotype: Genotype | None, source: ClipSource) -> SegmenterSpec:
    size = config.phase.train.val_size
    tuned = TUNED if config.phase.train.video.epochs else DECODER_TUNED
    return SegmenterSpec(
        cell_name(config.cell) if genotype else tuned,
        config.seed,
        _recipe(config),
        source.classes,
        source.palette,
        genotype,
        config.past if genotype else None,  # type: ignore[arg-type]  # one of Past
        config.flow,
        IMAGENET_MEAN,
        IMAGENET_STD,
        None if size is None else (size[0], size[1]),
    )


def _recipe(config: TrainConfig) -> str:
    """A digest of all that a training depends on besides the cell, what it reads and the seed."""
    dataset = {key: value for key, value in asdict(config.dataset).items() if key != "root"}
    static = sha256_of(Path(config.static.weights))
    parts = [dataset, asdict(config.phase.train), config.gpu.precision, config.gpu.cache_precision, static]
    return digest_of(json.dumps(parts, sort_keys=True))[:12]
