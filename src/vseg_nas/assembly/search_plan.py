"""The parts of a search: static network, meta split, cached features, evaluator, strategy, loop."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from vseg_nas.assembly.data_sources import Sources, build_sources, build_transform, check_batches
from vseg_nas.assembly.static_weights import load_static_for
from vseg_nas.data import ClipSource, ClipTransform, MetaSplit, leak_report, meta_split, resized
from vseg_nas.data.feature_cache import StaticFeatures, as_features, map_cache, stored_arrays
from vseg_nas.data.inspection import require_labels
from vseg_nas.models.settings import Past
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.nas.candidate import CandidateEvaluator
from vseg_nas.nas.executors.executor import Executor
from vseg_nas.nas.executors.pool import PoolExecutor
from vseg_nas.nas.executors.ray import RayExecutor, Share
from vseg_nas.nas.executors.serial import SerialExecutor
from vseg_nas.nas.executors.settings import ExecutorSettings, RaySettings, SerialSettings
from vseg_nas.nas.executors.supervisor import useful_workers
from vseg_nas.nas.listener import Budget, SearchListener
from vseg_nas.nas.loop import SearchLoop
from vseg_nas.nas.pruners import Pruner, build_pruner
from vseg_nas.nas.store import TrialStore
from vseg_nas.nas.strategies.base import Strategy, build_strategy
from vseg_nas.schema import SearchConfig
from vseg_nas.space import SearchSpace
from vseg_nas.space.vocabulary import VOCABULARIES
from vseg_nas.training.device import Device, open_device
from vseg_nas.training.features import Track, cache_key, cached_features, placed
from vseg_nas.training.settings import CellTraining


class MetaFeatures(NamedTuple):
    """The cached features that candidates train on and are scored on.

    Attributes:
        train: Cached features of meta-train.
        val: Cached features of meta-val.
        caches: The folders of the features of meta-train and of meta-val.
        classifier: Classifier of the frozen static network.
    """

    train: StaticFeatures
    val: StaticFeatures
    caches: tuple[Path, Path]
    classifier: nn.Conv2d


class MetaData(NamedTuple):
    """The static network, the clips and the cached features of a search.

    Attributes:
        network: The frozen static network.
        sources: Data sets of whole clips.
        split: The clips of meta-train and of meta-val, as indices into the training clips.
        features: The cached features of meta-train and meta-val.
    """

    network: StaticSegmenter
    sources: Sources
    split: MetaSplit
    features: MetaFeatures

    @property
    def leaks(self) -> str:
        """One line that says what meta-val shares with meta-train."""
        return leak_report(self.sources.train, self.split).summary()


def build_space(config: SearchConfig) -> SearchSpace:
    """Returns the search space that the configuration asks for."""
    space = config.space
    return SearchSpace(layers=space.layers, width=space.width, vocabulary=VOCABULARIES[space.vocabulary])


def build_meta_data(config: SearchConfig, device: Device, track: Track) -> MetaData:
    """Loads the static network, cuts the training clips in two and opens or computes their features.

    Raises:
        DataError: The data set or the weights cannot be used, or do not belong together.
        ConfigError: A training batch is too small for batch norm.
    """
    phase = config.phase.search
    sources = build_sources(config.dataset, config.runs_dir)
    network = load_static_for(Path(config.static.weights), sources.train.classes, config.dataset.name).freeze()
    split = meta_split(sources.train, phase.val_fraction, phase.split, phase.split_seed)
    require_labels(sources.train, "meta-train", split.train)
    require_labels(sources.train, "meta-val", split.val)
    require_labels(sources.val, "val")
    check_batches(len(split.train), phase.batch_size, phase.transform.crop, "phase.search", drop_last=False)
    transforms = build_transform(phase.transform), resized(phase.val_size)
    cache_dir = Path(config.runs_dir) / "cache"
    features = cached_meta_features(cache_dir, network, sources.train, split, transforms, device, track)
    if not isinstance(executor_of(config, device), SerialSettings):  # other processes compute with them
        train, val = map(map_cache, features.caches)
        features = features._replace(train=train, val=val)
    return MetaData(network, sources, split, features)


def cached_meta_features(
    cache_dir: Path,
    network: StaticSegmenter,
    clips: ClipSource,
    split: MetaSplit,
    transforms: tuple[ClipTransform, ClipTransform],
    device: Device,
    track: Track,
) -> MetaFeatures:
    """Opens the features of meta-train and meta-val, computing them first where no cache holds them.

    Args:
        cache_dir: Folder of all caches.
        network: The frozen static network.
        clips: Training clips, which are cut in two.
        split: Indices of meta-train and meta-val.
        transforms: The transforms of the clips of meta-train and of meta-val, in this order.
        device: The device to compute them on, and the precision in which they are stored.
        track: Shows the progress.
    """
    opened, folders, precision = [], [], device.cache_precision
    for indices, transform, for_training in ((split.train, transforms[0], True), (split.val, transforms[1], False)):
        key = cache_key(network, clips, indices, transform, precision, for_training=for_training)
        opened.append(
            cached_features(
                cache_dir,
                network,
                clips,
                indices,
                transform,
                precision,
                device.tensors,
                track,
                for_training=for_training,
            )
        )
        folders.append(cache_dir / key.digest)
    train, val = opened
    return MetaFeatures(train, val, (folders[0], folders[1]), network.decoder.classifier)


@dataclass(frozen=True, eq=False)
class CandidateFactory:
    """Builds the evaluator of cells in another process; see `EvaluatorFactory`.

    Attributes:
        device: The device to compute on, and its precision.
        caches: Folders with the features of meta-train and meta-val.
        classifier: Classifier of the static network, on the CPU.
        training: Settings of the training of each candidate.
        reference_scores: Whether scores are computed as in the authors' code.
        share: Share of a CUDA device that is the process's.
    """

    device: Device
    caches: tuple[Path, Path]
    classifier: nn.Conv2d
    training: CellTraining
    reference_scores: bool = False
    share: float = 1.0

    def __call__(
        self, pruner: Pruner, root_dir: Path, arrays: Sequence[dict[str, NDArray[Any]]] | None = None
    ) -> CandidateEvaluator:
        """Opens the features, where they do not come as arrays, and builds the evaluator."""
        self.device.start()
        opened = map(as_features, map(stored_arrays, self.caches) if arrays is None else arrays)
        train, val = placed(list(opened), self.device.tensors, self.share)
        return CandidateEvaluator(
            train,
            val,
            self.classifier,
            self.training,
            pruner,
            root_dir,
            reference_scores=self.reference_scores,
            **self.device.trainer_options(),
        )

    def arrays(self) -> list[dict[str, NDArray[Any]]]:
        """Returns the features in memory, for a machine that does not see the folders."""
        # plain arrays: a memory map would be pickled byte by byte, once for every worker
        return [{name: np.asarray(array) for name, array in stored_arrays(folder).items()} for folder in self.caches]


def executor_of(config: SearchConfig, device: Device | None = None) -> ExecutorSettings:
    """Returns the executor of the configuration; with ``gpu=many`` and several devices, Ray in place of `serial`.

    Args:
        config: The configuration of `search`.
        device: The device, if it is known already.
    """
    if not isinstance(config.executor, SerialSettings) or config.gpu.devices == 1:
        return config.executor
    if (device or open_device(config.gpu)).count() == 1:
        return config.executor
    return RaySettings(mode="async" if config.phase.search.batch == 1 else "batch", workers=config.gpu.devices)


def build_evaluator(
    features: MetaFeatures,
    training: CellTraining,
    device: Device,
    pruner: Pruner,
    run_dir: Path,
    past: Past = "previous",
    reference_scores: bool = False,
) -> CandidateEvaluator:
    """Returns the evaluator of cells that computes in this process."""
    train, val = placed((features.train, features.val), device.tensors)
    return CandidateEvaluator(
        train,
        val,
        features.classifier,
        training,
        pruner,
        run_dir,
        past,
        reference_scores,
        **device.trainer_options(),
    )


@dataclass(frozen=True)
class SearchPlan:
    """How to search, whatever the data: the plan of the `search` command and of `api.search`.

    Attributes:
        strategy: Strategy, seeded by the run.
        pruner: Pruner, seeded by the run.
        training: Settings of the training of each candidate.
        device: The device to compute on, and its precision.
        executor: Settings of the executor.
        seed: Seed of the run.
        budget: The number of trials and of hours after which no cell is asked for.
        batch: Number of cells to ask for at once.
        failed_reward: Reward of a failed trial; with None the strategy gets no reward from it.
        reference_scores: Whether scores are computed as in the authors' code.
    """

    strategy: Strategy
    pruner: Pruner
    training: CellTraining
    device: Device
    executor: ExecutorSettings
    seed: int
    budget: Budget
    batch: int = 1
    failed_reward: float | None = None
    reference_scores: bool = False

    def loop(
        self, features: MetaFeatures, store: TrialStore, run_dir: Path, listeners: Sequence[SearchListener] = ()
    ) -> SearchLoop:
        """Returns the search, ready to run or to resume."""
        return SearchLoop(
            self.strategy,
            self.build_executor(features, run_dir),
            self.pruner,
            store,
            seed=self.seed,
            budget=self.budget,
            listeners=listeners,
            failed_reward=self.failed_reward,
            batch=self.batch,
            asynchronous=isinstance(self.executor, RaySettings) and self.executor.mode == "async",
        )

    def build_executor(self, features: MetaFeatures, run_dir: Path) -> Executor:
        """Returns the executor in which candidates run.

        Args:
            features: The cached features that candidates train on and are scored on.
            run_dir: Folder of the run.
        """
        executor, device = self.executor, self.device
        if isinstance(executor, SerialSettings):
            evaluator = build_evaluator(
                features, self.training, device, self.pruner, run_dir, reference_scores=self.reference_scores
            )
            return SerialExecutor(evaluator)
        classifier = copy.deepcopy(features.classifier).cpu()
        factory = CandidateFactory(device, features.caches, classifier, self.training, self.reference_scores)
        if isinstance(executor, RaySettings):
            return build_ray_executor(executor, factory, self.pruner, self.batch)
        workers = useful_workers(executor.workers, self.batch)
        threads = device.threads
        if threads is None and workers > 1:
            threads = max(1, torch.get_num_threads() // workers)
        return PoolExecutor(
            replace(factory, device=replace(device, threads=threads), share=1 / workers),
            self.pruner,
            run_dir / "worker",
            workers=workers,
            limit_s=executor.limit_s,
            memory_gib=executor.memory_gib,
        )


def build_ray_executor(executor: RaySettings, factory: CandidateFactory, pruner: Pruner, batch: int) -> RayExecutor:
    """Returns the executor that trains candidates in Ray's workers, each with its share of a device."""
    device, share = factory.device, executor.gpus_per_candidate
    threads = device.threads or max(1, int(executor.cpus_per_candidate))
    caches = (factory.caches[0].resolve(), factory.caches[1].resolve())
    return RayExecutor(
        replace(factory, device=replace(device, threads=threads), caches=caches, share=share),
        pruner,
        Share(share if device.is_cuda else 0.0, executor.cpus_per_candidate),
        workers=executor.workers,
        at_most=batch if executor.mode == "batch" else None,
        address=executor.address,
        limit_s=executor.limit_s,
    )


def plan_search(config: SearchConfig, device: Device) -> SearchPlan:
    """Returns the plan that the configuration asks for."""
    phase = config.phase.search
    return SearchPlan(
        build_strategy(config.strategy, build_space(config), config.seed),
        build_pruner(config.stopping, config.seed),
        phase,
        device,
        executor_of(config, device),
        seed=config.seed,
        budget=Budget(phase.trials, phase.hours),
        batch=phase.batch,
        failed_reward=config.reward.failed,
        reference_scores=config.reward.reference,
    )
