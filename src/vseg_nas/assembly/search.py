"""The parts of a search: static network, meta split, cached features, evaluator, strategy, loop."""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from torch import nn

from vseg_nas.assembly.static import (
    Sources,
    build_sources,
    build_transform,
    check_batches,
    device_of,
    devices_there,
    load_static,
    trainer_options,
)
from vseg_nas.data import ClipTransform, MetaSplit, leak_report, meta_split, resized
from vseg_nas.data.feature_cache import StaticFeatures, as_features, map_cache, stored_arrays
from vseg_nas.data.inspection import require_labels
from vseg_nas.models.propagation import Past
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.nas.candidate import CandidateEvaluator
from vseg_nas.nas.executor import Executor, SerialExecutor
from vseg_nas.nas.isolation import IsolatedExecutor
from vseg_nas.nas.loop import Budget, SearchListener, SearchLoop
from vseg_nas.nas.ray_executor import RayExecutor, Share
from vseg_nas.nas.stopping import StoppingRule, build_stopping
from vseg_nas.nas.store import TrialStore
from vseg_nas.nas.strategy import Strategy, build_strategy
from vseg_nas.schema import (
    ExecutorConfig,
    GpuConfig,
    RayConfig,
    SearchConfig,
    SearchPhase,
    SerialConfig,
)
from vseg_nas.space import SearchSpace
from vseg_nas.training.cell_module import CellTraining
from vseg_nas.training.features import Track, cache_key, cached_features, placed


class MetaData(NamedTuple):
    """Everything that candidates train and are scored on.

    Attributes:
        network: the frozen static network.
        sources: of whole clips.
        split: meta-train and meta-val, indices into the training clips.
        train: cached features of meta-train.
        val: cached features of meta-val.
        caches: folders of the two.
    """

    network: StaticSegmenter
    sources: Sources
    split: MetaSplit
    train: StaticFeatures
    val: StaticFeatures
    caches: tuple[Path, Path]

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
        ConfigError: a training batch is too small for batch norm.
    """
    phase = config.phase.search
    trainer_options(config.gpu)
    sources = build_sources(config)
    network = load_static(config, sources.train.classes).freeze()
    split = meta_split(sources.train, phase.val_fraction, phase.split, phase.split_seed)  # type: ignore[arg-type]
    require_labels(sources.train, "meta-train", split.train)
    require_labels(sources.train, "meta-val", split.val)
    require_labels(sources.val, "val")
    check_batches(len(split.train), phase.batch_size, phase.transform.crop, "phase.search", drop_last=False)
    device = device_of(config.gpu)
    precision = config.gpu.cache_precision
    parts = ((split.train, build_transform(phase.transform), True), (split.val, val_transform(phase), False))
    train, val = (
        cached_features(
            cache_dir, network, sources.train, indices, transform, precision, device, track, for_training=for_training
        )
        for indices, transform, for_training in parts
    )
    folder_train, folder_val = (
        cache_dir / cache_key(network, sources.train, indices, transform, precision, for_training=for_training).digest
        for indices, transform, for_training in parts
    )
    if not isinstance(executor_of(config), SerialConfig):  # another process computes with them
        train, val = map_cache(folder_train), map_cache(folder_val)
    return MetaData(network, sources, split, train, val, (folder_train, folder_val))


@dataclass(frozen=True, eq=False)
class CandidateRecipe:
    """Builds the evaluator of cells in another process; see `Recipe`.

    Attributes:
        gpu: as configured.
        caches: folders with the features of meta-train and meta-val.
        classifier: of the static network, on the CPU.
        training: epochs, batches, Adam.
        share: of a CUDA device, that is the process's.
    """

    gpu: GpuConfig
    caches: tuple[Path, Path]
    classifier: nn.Conv2d
    training: CellTraining
    share: float = 1.0

    def __call__(
        self, stopping: StoppingRule, root_dir: Path, arrays: Sequence[dict[str, NDArray[Any]]] | None = None
    ) -> CandidateEvaluator:
        """Opens the features, where they do not come as arrays, and builds the evaluator."""
        opened = map(as_features, map(stored_arrays, self.caches) if arrays is None else arrays)
        train, val = placed(list(opened), device_of(self.gpu), self.share)
        options = trainer_options(self.gpu)
        return CandidateEvaluator(train, val, self.classifier, self.training, stopping, root_dir, **options)

    def arrays(self) -> list[dict[str, NDArray[Any]]]:
        """The features, for a machine that does not see the folders."""
        # plain arrays: a memory map would be pickled byte by byte, once for every place
        return [{name: np.asarray(array) for name, array in stored_arrays(folder).items()} for folder in self.caches]


def executor_of(config: SearchConfig) -> ExecutorConfig:
    """As configured; with ``gpu=many``, where that names several devices, Ray instead of `serial`."""
    executor: ExecutorConfig = config.executor
    if isinstance(executor, SerialConfig) and config.gpu.devices != 1 and devices_there(config.gpu) > 1:
        mode = "async" if config.phase.search.batch == 1 else "batch"
        return RayConfig("ray", mode, workers=config.gpu.devices)
    return executor


def build_executor(config: SearchConfig, data: MetaData, stopping: StoppingRule, run_dir: Path) -> Executor:
    """Where candidates run."""
    executor = executor_of(config)
    if isinstance(executor, SerialConfig):
        return SerialExecutor(build_evaluator(config, data, stopping, run_dir))
    classifier = copy.deepcopy(data.network.decoder.classifier).cpu()
    recipe = CandidateRecipe(config.gpu, data.caches, classifier, cell_training(config))
    if isinstance(executor, RayConfig):
        return _build_ray_executor(config, executor, recipe, stopping)
    return IsolatedExecutor(
        recipe,
        stopping,
        run_dir / "worker",
        limit_s=executor.limit_s,
        memory_gib=executor.memory_gib,
    )


def _build_ray_executor(
    config: SearchConfig, executor: RayConfig, recipe: CandidateRecipe, stopping: StoppingRule
) -> RayExecutor:
    threads = config.gpu.threads or max(1, int(executor.cpus_per_candidate))
    caches = (recipe.caches[0].resolve(), recipe.caches[1].resolve())
    return RayExecutor(
        replace(recipe, gpu=replace(config.gpu, threads=threads), caches=caches, share=executor.gpus_per_candidate),
        stopping,
        Share(
            executor.gpus_per_candidate if device_of(config.gpu).type == "cuda" else 0.0,
            executor.cpus_per_candidate,
        ),
        workers=executor.workers,
        at_most=config.phase.search.batch if executor.mode == "batch" else None,
        address=executor.address,
        limit_s=executor.limit_s,
    )


def cell_training(config: SearchConfig) -> CellTraining:
    """How candidates train, and are scored."""
    phase = config.phase.search
    return CellTraining(
        phase.epochs,
        phase.batch_size,
        phase.lr,
        phase.weight_decay,
        phase.gradient_clip,
        phase.schedule,  # type: ignore[arg-type]  # checked by the schema
        config.reward.reference,
    )


def build_evaluator(
    config: SearchConfig, data: MetaData, stopping: StoppingRule, run_dir: Path, past: Past = "previous"
) -> CandidateEvaluator:
    """The evaluator of cells."""
    training = cell_training(config)
    classifier = data.network.decoder.classifier
    options = trainer_options(config.gpu)
    train, val = placed((data.train, data.val), device_of(config.gpu))
    return CandidateEvaluator(train, val, classifier, training, stopping, run_dir, past, **options)


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
    rule = asdict(config.stopping)
    stopping = build_stopping(rule.pop("name"), config.seed, **rule)
    executor = executor_of(config)
    return SearchLoop(
        build_strategy_of(config),
        build_executor(config, data, stopping, run_dir),
        stopping,
        store,
        seed=config.seed,
        budget=Budget(phase.trials, phase.hours),
        listeners=listeners,
        failed_reward=config.reward.failed,
        batch=phase.batch,
        asynchronous=isinstance(executor, RayConfig) and executor.mode == "async",
    )
