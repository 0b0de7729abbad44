"""The parts of a search: static network, meta split, cached features, evaluator, strategy, loop."""

import copy
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
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
from vseg_nas.data import ClipSource, ClipTransform, MetaSplit, leak_report, meta_split, resized
from vseg_nas.data.feature_cache import StaticFeatures, as_features, map_cache, stored_arrays
from vseg_nas.data.inspection import require_labels
from vseg_nas.models.propagation import Past
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.nas.candidate import CandidateEvaluator
from vseg_nas.nas.executors.executor import Executor
from vseg_nas.nas.executors.pool import PoolExecutor
from vseg_nas.nas.executors.ray import RayExecutor, Share
from vseg_nas.nas.executors.serial import SerialExecutor
from vseg_nas.nas.executors.supervisor import useful_workers
from vseg_nas.nas.listener import Budget, SearchListener
from vseg_nas.nas.loop import SearchLoop
from vseg_nas.nas.pruners import Pruner, build_pruner
from vseg_nas.nas.store import TrialStore
from vseg_nas.nas.strategies.base import Strategy, build_strategy
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


class MetaFeatures(NamedTuple):
    """What candidates train and are scored on.

    Attributes:
        train: Cached features of meta-train.
        val: Cached features of meta-val.
        caches: Folders of the two.
        classifier: Classifier of the frozen static network.
    """

    train: StaticFeatures
    val: StaticFeatures
    caches: tuple[Path, Path]
    classifier: nn.Conv2d


class MetaData(NamedTuple):
    """The data of a search.

    Attributes:
        network: The frozen static network.
        sources: Data sets of whole clips.
        split: Meta-train and meta-val, as indices into the training clips.
        features: Features of the two.
    """

    network: StaticSegmenter
    sources: Sources
    split: MetaSplit
    features: MetaFeatures

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
    transforms = build_transform(phase.transform), val_transform(phase)
    device, precision = device_of(config.gpu), config.gpu.cache_precision
    features = cached_meta_features(cache_dir, network, sources.train, split, transforms, precision, device, track)
    if not isinstance(executor_of(config), SerialConfig):  # other processes compute with them
        train, val = map(map_cache, features.caches)
        features = features._replace(train=train, val=val)
    return MetaData(network, sources, split, features)


def cached_meta_features(
    cache_dir: Path,
    network: StaticSegmenter,
    clips: ClipSource,
    split: MetaSplit,
    transforms: tuple[ClipTransform, ClipTransform],
    precision: str,
    device: torch.device,
    track: Track,
) -> MetaFeatures:
    """Opens the features of meta-train and meta-val, computing them first where no cache holds them.

    Args:
        cache_dir: Folder of all caches.
        network: The frozen static network.
        clips: Training clips, which are cut in two.
        split: Indices of meta-train and meta-val.
        transforms: What is applied to clips of meta-train and of meta-val before the network.
        precision: Precision of the features, ``fp32`` or ``fp16``.
        device: Device to compute them on.
        track: Shows the progress.
    """
    opened, folders = [], []
    for indices, transform, for_training in ((split.train, transforms[0], True), (split.val, transforms[1], False)):
        key = cache_key(network, clips, indices, transform, precision, for_training=for_training)
        opened.append(
            cached_features(
                cache_dir, network, clips, indices, transform, precision, device, track, for_training=for_training
            )
        )
        folders.append(cache_dir / key.digest)
    train, val = opened
    return MetaFeatures(train, val, (folders[0], folders[1]), network.decoder.classifier)


@dataclass(frozen=True, eq=False)
class CandidateFactory:
    """Builds the evaluator of cells in another process; see `EvaluatorFactory`.

    Attributes:
        gpu: Where and how precisely to compute.
        caches: Folders with the features of meta-train and meta-val.
        classifier: Classifier of the static network, on the CPU.
        training: Epochs, batches and the settings of Adam.
        share: Share of a CUDA device that is the process's.
    """

    gpu: GpuConfig
    caches: tuple[Path, Path]
    classifier: nn.Conv2d
    training: CellTraining
    share: float = 1.0

    def __call__(
        self, pruner: Pruner, root_dir: Path, arrays: Sequence[dict[str, NDArray[Any]]] | None = None
    ) -> CandidateEvaluator:
        """Opens the features, where they do not come as arrays, and builds the evaluator."""
        opened = map(as_features, map(stored_arrays, self.caches) if arrays is None else arrays)
        train, val = placed(list(opened), device_of(self.gpu), self.share)
        options = trainer_options(self.gpu)
        return CandidateEvaluator(train, val, self.classifier, self.training, pruner, root_dir, **options)

    def arrays(self) -> list[dict[str, NDArray[Any]]]:
        """The features, for a machine that does not see the folders."""
        # plain arrays: a memory map would be pickled byte by byte, once for every worker
        return [{name: np.asarray(array) for name, array in stored_arrays(folder).items()} for folder in self.caches]


def executor_of(config: SearchConfig) -> ExecutorConfig:
    """As configured; with ``gpu=many``, where that names several devices, Ray instead of `serial`."""
    executor: ExecutorConfig = config.executor
    if isinstance(executor, SerialConfig) and config.gpu.devices != 1 and devices_there(config.gpu) > 1:
        mode = "async" if config.phase.search.batch == 1 else "batch"
        return RayConfig("ray", mode, workers=config.gpu.devices)
    return executor


def build_executor(
    executor: ExecutorConfig,
    features: MetaFeatures,
    training: CellTraining,
    gpu: GpuConfig,
    pruner: Pruner,
    batch: int,
    run_dir: Path,
) -> Executor:
    """Where candidates run.

    Args:
        executor: Its settings.
        features: What candidates train and are scored on.
        training: Epochs, batches and the settings of Adam.
        gpu: Where and how precisely to compute.
        pruner: Pruner of the search.
        batch: Number of cells that are asked for at once.
        run_dir: Folder of the run.
    """
    if isinstance(executor, SerialConfig):
        return SerialExecutor(build_evaluator(features, training, gpu, pruner, run_dir))
    classifier = copy.deepcopy(features.classifier).cpu()
    factory = CandidateFactory(gpu, features.caches, classifier, training)
    if isinstance(executor, RayConfig):
        return _build_ray_executor(executor, factory, pruner, batch)
    workers = useful_workers(executor.workers, batch)
    threads = gpu.threads
    if threads is None and workers > 1:
        threads = max(1, torch.get_num_threads() // workers)
    return PoolExecutor(
        replace(factory, gpu=replace(gpu, threads=threads), share=1 / workers),
        pruner,
        run_dir / "worker",
        workers=workers,
        limit_s=executor.limit_s,
        memory_gib=executor.memory_gib,
    )


def _build_ray_executor(executor: RayConfig, factory: CandidateFactory, pruner: Pruner, batch: int) -> RayExecutor:
    gpu, share = factory.gpu, executor.gpus_per_candidate
    threads = gpu.threads or max(1, int(executor.cpus_per_candidate))
    caches = (factory.caches[0].resolve(), factory.caches[1].resolve())
    return RayExecutor(
        replace(factory, gpu=replace(gpu, threads=threads), caches=caches, share=share),
        pruner,
        Share(share if device_of(gpu).type == "cuda" else 0.0, executor.cpus_per_candidate),
        workers=executor.workers,
        at_most=batch if executor.mode == "batch" else None,
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
    features: MetaFeatures,
    training: CellTraining,
    gpu: GpuConfig,
    pruner: Pruner,
    run_dir: Path,
    past: Past = "previous",
) -> CandidateEvaluator:
    """The evaluator of cells, in this process."""
    options = trainer_options(gpu)
    train, val = placed((features.train, features.val), device_of(gpu))
    return CandidateEvaluator(train, val, features.classifier, training, pruner, run_dir, past, **options)


@dataclass(frozen=True)
class SearchPlan:
    """How to search, whatever the data: the plan of the `search` command and of `api.search`.

    Attributes:
        strategy: Strategy, seeded by the run.
        pruner: Pruner, seeded by the run.
        training: Epochs, batches and the settings of Adam of each candidate.
        gpu: Where and how precisely to compute.
        executor: Settings of the executor.
        seed: Seed of the run.
        budget: When to stop asking.
        batch: Number of cells to ask for at once.
        failed_reward: Reward of a failed trial; None: the strategy gets no reward from it.
    """

    strategy: Strategy
    pruner: Pruner
    training: CellTraining
    gpu: GpuConfig
    executor: ExecutorConfig
    seed: int
    budget: Budget
    batch: int = 1
    failed_reward: float | None = None

    def loop(
        self, features: MetaFeatures, store: TrialStore, run_dir: Path, listeners: Sequence[SearchListener] = ()
    ) -> SearchLoop:
        """The search, ready to run or to resume."""
        executor = build_executor(self.executor, features, self.training, self.gpu, self.pruner, self.batch, run_dir)
        return SearchLoop(
            self.strategy,
            executor,
            self.pruner,
            store,
            seed=self.seed,
            budget=self.budget,
            listeners=listeners,
            failed_reward=self.failed_reward,
            batch=self.batch,
            asynchronous=isinstance(self.executor, RayConfig) and self.executor.mode == "async",
        )


def plan_search(config: SearchConfig) -> SearchPlan:
    """The plan that the command line asks for."""
    phase = config.phase.search
    strategy, stopping = asdict(config.strategy), asdict(config.stopping)
    return SearchPlan(
        build_strategy(strategy.pop("name"), build_space(config), config.seed, **strategy),
        build_pruner(stopping.pop("name"), config.seed, **stopping),
        cell_training(config),
        config.gpu,
        executor_of(config),
        seed=config.seed,
        budget=Budget(phase.trials, phase.hours),
        batch=phase.batch,
        failed_reward=config.reward.failed,
    )
