"""The plan of a search, and its loop: strategy, pruner, executor and budget."""

import copy
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from vseg_nas.assembly.candidate_executors import CandidateFactory, build_evaluator, build_ray_executor
from vseg_nas.assembly.executor_choice import executor_of
from vseg_nas.assembly.meta_features import MetaFeatures
from vseg_nas.nas.executors.executor import Executor
from vseg_nas.nas.executors.isolated import IsolatedExecutor
from vseg_nas.nas.executors.serial import SerialExecutor
from vseg_nas.nas.executors.settings import ExecutorSettings, RaySettings, SerialSettings
from vseg_nas.nas.executors.supervisor import useful_workers
from vseg_nas.nas.listener import SearchListener
from vseg_nas.nas.loop import SearchLoop
from vseg_nas.nas.pruners import Pruner, build_pruner
from vseg_nas.nas.settings import Budget, RewardSettings
from vseg_nas.nas.store import TrialStore
from vseg_nas.nas.strategies.base import Strategy, build_strategy
from vseg_nas.schema import SearchConfig
from vseg_nas.space import SearchSpace
from vseg_nas.space.vocabulary import VOCABULARIES
from vseg_nas.training.device import Device
from vseg_nas.training.settings import CellTraining


def build_space(config: SearchConfig) -> SearchSpace:
    """Returns the search space that the configuration asks for."""
    space = config.space
    return SearchSpace(layers=space.layers, width=space.width, vocabulary=VOCABULARIES[space.vocabulary])


@dataclass(frozen=True)
class SearchPlan:
    """How to search, whatever the data: the plan of the `search` command and of `api.search`.

    Attributes:
        strategy: Strategy, seeded by the run.
        pruner: Pruner, seeded by the run.
        training: Settings of the training of each candidate.
        device: The device to compute on, and its precision.
        executor: Settings of the executor.
        reward: Settings of score, cost and reward.
        seed: Seed of the run.
        budget: The number of trials and of hours after which no cell is asked for.
        batch: Number of cells to ask for at once.
    """

    strategy: Strategy
    pruner: Pruner
    training: CellTraining
    device: Device
    executor: ExecutorSettings
    reward: RewardSettings
    seed: int
    budget: Budget
    batch: int = 1

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
            failed_reward=self.reward.failed,
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
            evaluator = build_evaluator(features, self.training, device, self.pruner, run_dir, self.reward)
            return SerialExecutor(evaluator)
        classifier = copy.deepcopy(features.classifier).cpu()
        factory = CandidateFactory(device, features.caches, classifier, self.training, self.reward)
        if isinstance(executor, RaySettings):
            return build_ray_executor(executor, factory, self.pruner, self.batch)
        workers = useful_workers(executor.workers, self.batch)
        threads = device.threads
        if threads is None and workers > 1:
            threads = max(1, torch.get_num_threads() // workers)
        return IsolatedExecutor(
            replace(factory, device=replace(device, threads=threads), share=1 / workers),
            self.pruner,
            run_dir / "worker",
            workers=workers,
            limit_s=executor.limit_s,
            memory_gib=executor.memory_gib,
        )


def plan_search(config: SearchConfig, device: Device) -> SearchPlan:
    """Returns the plan that the configuration asks for."""
    phase = config.phase.search
    return SearchPlan(
        build_strategy(config.strategy, build_space(config), config.seed),
        build_pruner(config.pruner, config.seed),
        phase,
        device,
        executor_of(config, device),
        config.reward,
        seed=config.seed,
        budget=Budget(phase.trials, phase.hours),
        batch=phase.batch,
    )
