"""The parts of a search: static network, meta split, cached features, evaluator, strategy, loop."""

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import NamedTuple

from vseg_nas.assembly.static import Sources, build_sources, build_transform, device_of, load_static, trainer_options
from vseg_nas.data import ClipTransform, MetaSplit, leak_report, meta_split, resized
from vseg_nas.data.feature_cache import StaticFeatures
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.nas.candidate import CandidateEvaluator
from vseg_nas.nas.executor import SerialExecutor
from vseg_nas.nas.loop import Budget, SearchListener, SearchLoop
from vseg_nas.nas.stopping import StoppingRule, build_stopping
from vseg_nas.nas.store import TrialStore
from vseg_nas.nas.strategy import Strategy, build_strategy
from vseg_nas.schema import SearchConfig, SearchPhase
from vseg_nas.space import SearchSpace
from vseg_nas.training.cell_module import CellTraining
from vseg_nas.training.features import Track, cached_features


class MetaData(NamedTuple):
    """Everything that candidates train and are scored on.

    Attributes:
        network: the frozen static network.
        sources: of whole clips.
        split: meta-train and meta-val, indices into the training clips.
        train: cached features of meta-train.
        val: cached features of meta-val.
    """

    network: StaticSegmenter
    sources: Sources
    split: MetaSplit
    train: StaticFeatures
    val: StaticFeatures

    @property
    def leaks(self) -> str:
        """What meta-val shares with meta-train, in one line."""
        return leak_report(self.sources.train, self.split).summary()


def val_transform(phase: SearchPhase) -> ClipTransform:
    """Frames of meta-val and val at the size that cells are trained at, masks at their own."""
    return resized(None if phase.val_size is None else (phase.val_size[0], phase.val_size[1]))


def build_space(config: SearchConfig) -> SearchSpace:
    """The search space."""
    return SearchSpace(config.space.layers, config.space.width)  # type: ignore[arg-type]  # checked in there


def build_meta_data(config: SearchConfig, cache_dir: Path, track: Track) -> MetaData:
    """Loads the static network, cuts the training clips in two and opens or computes their features.

    Raises:
        DataError: the data set or the weights cannot be used, or do not belong together.
    """
    phase = config.phase.search
    trainer_options(config.gpu)
    sources = build_sources(config.dataset)
    network = load_static(config, sources.train.classes).freeze()
    split = meta_split(sources.train, phase.val_fraction, phase.split, phase.split_seed)  # type: ignore[arg-type]
    device = device_of(config.gpu)
    precision = config.gpu.cache_precision
    train, val = (
        cached_features(cache_dir, network, sources.train, indices, transform, precision, device, track)
        for indices, transform in (
            (split.train, build_transform(phase.transform)),
            (split.val, val_transform(phase)),
        )
    )
    return MetaData(network, sources, split, train, val)


def build_evaluator(
    config: SearchConfig, data: MetaData, stopping: StoppingRule, run_dir: Path, sees_previous: bool = True
) -> CandidateEvaluator:
    """The evaluator of cells."""
    phase = config.phase.search
    training = CellTraining(phase.epochs, phase.batch_size, phase.lr, phase.weight_decay, phase.gradient_clip)
    classifier = data.network.decoder.classifier
    options = trainer_options(config.gpu)
    return CandidateEvaluator(data.train, data.val, classifier, training, stopping, run_dir, sees_previous, **options)


def build_strategy_of(config: SearchConfig) -> Strategy:
    """The strategy, seeded by the run."""
    options = asdict(config.strategy)
    return build_strategy(options.pop("name"), build_space(config), config.seed, **options)


def build_loop(
    config: SearchConfig,
    data: MetaData,
    store: TrialStore,
    run_dir: Path,
    listeners: Sequence[SearchListener],
) -> SearchLoop:
    """The search, ready to run or to go on."""
    phase = config.phase.search
    stopping = build_stopping(config.stopping.name, config.seed)
    return SearchLoop(
        build_strategy_of(config),
        SerialExecutor(build_evaluator(config, data, stopping, run_dir)),
        stopping,
        store,
        seed=config.seed,
        budget=Budget(phase.trials, phase.hours),
        listeners=listeners,
        failed_reward=config.reward.failed,
    )
