"""Candidates for Ray, in a module that its workers can import."""

import dataclasses
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tests.builders import GOOD, SPACE, TARGET
from tests.nas.faults import Acting, ActingEvaluator, Candidate, kill
from vseg_nas.nas.executors.executor import Executor
from vseg_nas.nas.executors.ray import CandidateResources, RayExecutor
from vseg_nas.nas.executors.worker import EvaluatorFactory
from vseg_nas.nas.fake import FakeEvaluator
from vseg_nas.nas.loop import SearchLoop
from vseg_nas.nas.pruners import HalfwayPruner, NoPruner, Pruner
from vseg_nas.nas.settings import Budget
from vseg_nas.nas.store import TrialStore
from vseg_nas.nas.strategies.base import build_strategy
from vseg_nas.nas.strategies.settings import ReinforceSettings
from vseg_nas.nas.trial import Evaluation, Evaluator, Progress
from vseg_nas.space import Genotype

CORE = CandidateResources(gpus=0, cpus=1)


@contextmanager
def ray_nodes(*cores: int) -> Iterator[str]:
    """A Ray of nodes with so many cores each, and nobody on it yet; its address."""
    from ray.cluster_utils import Cluster

    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    options: list[dict[str, Any]] = [{"num_cpus": n, "num_gpus": 0, "object_store_memory": 128 * 2**20} for n in cores]
    cluster: Any = Cluster(initialize_head=True, head_node_args=options[0] | {"include_dashboard": False})
    try:
        for node in options[1:]:
            cluster.add_node(**node)
        yield cluster.address
    finally:
        cluster.shutdown()


def executor(factory: EvaluatorFactory, address: str | None, rule: Pruner | None = None, **options: Any) -> RayExecutor:
    return RayExecutor(factory, rule or NoPruner(), CORE, address=address, **options)


@dataclass(frozen=True)
class Meeting:
    """A factory: every candidate waits until candidates of two processes have begun, and says which its own was."""

    notes: Path

    def __call__(self, pruner: Pruner, root_dir: Path) -> ActingEvaluator:
        return Acting(self.act)(pruner, root_dir)

    def act(self, candidate: Candidate) -> Evaluation:
        (self.notes / f"{os.getpid()}").touch()
        while len(list(self.notes.iterdir())) < 2:
            time.sleep(0.01)
        return dataclasses.replace(GOOD, parameters=os.getpid())


def say_process(candidate: Candidate) -> Evaluation:
    """Says which its process was."""
    return dataclasses.replace(GOOD, parameters=os.getpid())


class DyingTogether(Meeting):
    """A factory: every candidate waits likewise, and then takes its process along."""

    def act(self, candidate: Candidate) -> Evaluation:
        super().act(candidate)
        kill()
        return GOOD


class NotingItsFolder(Meeting):
    """A factory: every candidate notes the folder of its worker under its seed, and hangs."""

    def act(self, candidate: Candidate) -> Evaluation:
        (self.notes / f"{candidate.seed}").write_text(str(candidate.root_dir))
        return report_and_hang(candidate)


@dataclass(frozen=True)
class FarAway:
    """A factory whose file no machine sees; evaluations say what the arrays that come instead are like."""

    file: Path

    def arrays(self) -> dict[str, np.ndarray]:
        with (self.file.parent / "read").open("a") as log:
            log.write("once\n")
        return {"a": np.arange(1000.0)}

    def __call__(self, pruner: Pruner, root_dir: Path, arrays: dict[str, np.ndarray] | None = None) -> Evaluator:
        if arrays is None:
            raise FileNotFoundError(2, "No such file or directory", str(self.file))
        return Acting(_Sum(arrays["a"]))(pruner, root_dir)


@dataclass(frozen=True)
class _Sum:
    array: np.ndarray

    def __call__(self, candidate: Candidate) -> Evaluation:
        assert not self.array.flags.writeable
        return dataclasses.replace(GOOD, parameters=int(self.array.sum()))


@dataclass(frozen=True)
class Slow:
    """A factory: the fake evaluator, whose every epoch takes a while; notes the trial's seed under its process."""

    notes: Path
    seconds: float = 0.1

    def __call__(self, pruner: Pruner, root_dir: Path) -> "SlowEvaluator":
        return SlowEvaluator(self, pruner)


class SlowEvaluator(FakeEvaluator):
    """See `Slow`."""

    def __init__(self, factory: Slow, pruner: Pruner) -> None:
        super().__init__(TARGET, pruner)
        self._slow = factory

    def evaluate(self, genotype: Genotype, seed: int, progress: Progress) -> Evaluation:
        (self._slow.notes / f"{os.getpid()}").write_text(f"{seed}")

        def slowly(epoch: int, epochs: int, score: float | None) -> None:
            time.sleep(self._slow.seconds)
            progress(epoch, epochs, score)

        return super().evaluate(genotype, seed, slowly)


def search_loop(store: TrialStore, how: Executor, rule: Pruner, trials: int, **options: Any) -> SearchLoop:
    """A search; `how` is its executor."""
    strategy = build_strategy(ReinforceSettings(learning_rate=0.02), SPACE, 0)
    return SearchLoop(
        strategy,
        how,
        rule,
        store,
        seed=1,
        budget=Budget(trials),
        failed_reward=0.0,
        max_failures_in_a_row=99,
        **options,
    )


def rule() -> Pruner:
    return HalfwayPruner(0, initial_average=0.3, decay=0.9)


def report_and_end(candidate: Candidate) -> Evaluation:
    candidate.progress(1, 2, None)
    return GOOD


def report_and_hang(candidate: Candidate) -> Evaluation:
    candidate.progress(1, 2, None)
    time.sleep(1000)
    return GOOD
