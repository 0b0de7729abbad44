"""Evaluators with faults, in a module that child processes can import; run as a script, searches that hang."""

import ctypes
import dataclasses
import math
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import torch

from tests.builders import GOOD, TARGET
from tests.nas.loops import run_trials
from vseg_nas.errors import NonFiniteError
from vseg_nas.nas.executors.isolated import IsolatedExecutor
from vseg_nas.nas.fake import FakeEvaluator
from vseg_nas.nas.pruners import NoPruner, Pruner
from vseg_nas.nas.trial import Evaluation, FailureKind, Progress, Trial, TrialState
from vseg_nas.space import Genotype


def hang() -> None:
    time.sleep(1000)


def hang_and_resist() -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hang()


def raise_error() -> None:
    raise ValueError("this cell does not train")


def nan_loss() -> None:
    raise NonFiniteError("loss nan in epoch 1")


def memory_error() -> None:
    raise MemoryError


def allocate() -> None:
    """More than the limit that the tests set; never touched, so without a limit it costs nothing."""
    torch.empty(4 * 1024**3, dtype=torch.uint8)


def cuda_oom() -> None:
    raise torch.OutOfMemoryError("CUDA out of memory")


def exit_3() -> None:
    os._exit(3)


def segfault() -> None:
    ctypes.string_at(0)


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


FAULTS: dict[str, tuple[Callable[[], None], FailureKind]] = {
    "raise": (raise_error, FailureKind.ERROR),
    "NaN loss": (nan_loss, FailureKind.NONFINITE),
    "MemoryError": (memory_error, FailureKind.OOM),
    "allocation": (allocate, FailureKind.OOM),
    "CUDA out of memory": (cuda_oom, FailureKind.OOM),
    "exit": (exit_3, FailureKind.KILLED),
    "SIGSEGV": (segfault, FailureKind.KILLED),
    "SIGKILL": (kill, FailureKind.KILLED),
    "hang": (hang, FailureKind.TIMEOUT),
    "hang in spite of SIGTERM": (hang_and_resist, FailureKind.TIMEOUT),
}
NAN_METRIC = "NaN metric"
IN_PROCESS = ("raise", "NaN loss", "MemoryError", "CUDA out of memory", NAN_METRIC)
"""Faults that a search without isolation survives, too."""


def kind_of(fault: str) -> FailureKind:
    return FailureKind.NONFINITE if fault == NAN_METRIC else FAULTS[fault][1]


@dataclass(frozen=True)
class Faulty:
    """A factory: a share of the candidates fails, after half of the training; the seed of the trial decides how."""

    faults: tuple[str, ...] = (*FAULTS, NAN_METRIC)
    share: float = 0.3

    def fault(self, seed: int) -> str | None:
        rng = random.Random(seed)
        return rng.choice(self.faults) if rng.random() < self.share else None

    def __call__(self, pruner: Pruner, root_dir: Path) -> "FaultyEvaluator":
        return FaultyEvaluator(self, pruner)


class FaultyEvaluator(FakeEvaluator):
    """See `Faulty`."""

    def __init__(self, factory: Faulty, pruner: Pruner) -> None:
        super().__init__(TARGET, pruner)
        self._factory = factory

    def evaluate(self, genotype: Genotype, seed: int, progress: Progress) -> Evaluation:
        evaluation = super().evaluate(genotype, seed, progress)
        fault = self._factory.fault(seed)
        if fault == NAN_METRIC:
            return dataclasses.replace(evaluation, macc=math.nan)
        if fault is not None:
            FAULTS[fault][0]()
        return evaluation


@dataclass(frozen=True)
class DyingOnce:
    """A factory: every second candidate, or the one of a seed, takes its process along, but only once."""

    markers: Path
    seed: int | None = None

    def __call__(self, pruner: Pruner, root_dir: Path) -> "DyingOnceEvaluator":
        return DyingOnceEvaluator(self, pruner)


class DyingOnceEvaluator(FakeEvaluator):
    """See `DyingOnce`."""

    def __init__(self, factory: DyingOnce, pruner: Pruner) -> None:
        super().__init__(TARGET, pruner)
        self._factory = factory

    def evaluate(self, genotype: Genotype, seed: int, progress: Progress) -> Evaluation:
        evaluation = super().evaluate(genotype, seed, progress)
        marker = self._factory.markers / str(seed)
        dies = seed % 2 == 1 if self._factory.seed is None else seed == self._factory.seed
        if dies and not marker.exists():
            marker.touch()
            kill()
        return evaluation


class Candidate(NamedTuple):
    """What an evaluator knows while it evaluates."""

    seed: int
    progress: Progress
    pruner: Pruner
    root_dir: Path


@dataclass(frozen=True)
class Acting:
    """A factory: does as it is told, by a function that the child can import."""

    act: Callable[[Candidate], Evaluation]

    def __call__(self, pruner: Pruner, root_dir: Path) -> "ActingEvaluator":
        return ActingEvaluator(self.act, pruner, root_dir)


class ActingEvaluator:
    """See `Acting`."""

    def __init__(self, act: Callable[[Candidate], Evaluation], pruner: Pruner, root_dir: Path) -> None:
        self._act = act
        self._pruner = pruner
        self._root_dir = root_dir

    def evaluate(self, genotype: Genotype, seed: int, progress: Progress) -> Evaluation:
        return self._act(Candidate(seed, progress, self._pruner, self._root_dir))


@dataclass(frozen=True)
class Raising:
    """A factory: every candidate raises, or already the building of the evaluator does."""

    error: Exception
    at_once: bool = False

    def __call__(self, pruner: Pruner, root_dir: Path) -> "Raising":
        if self.at_once:
            raise self.error
        return self

    def evaluate(self, genotype: Genotype, seed: int, progress: Progress) -> Evaluation:
        raise self.error


@dataclass(frozen=True)
class Dead:
    """A factory that ends the process."""

    def __call__(self, pruner: Pruner, root_dir: Path) -> FakeEvaluator:
        kill()
        return FakeEvaluator(TARGET, pruner)


def trial(id_: int) -> Trial:
    return Trial(id_, Genotype.from_tokens([id_ % 4, 1, 2, 3, 4]), 10 + id_, TrialState.RUNNING)


def note_and_hang(candidate: Candidate) -> Evaluation:
    slurm = [name for name in os.environ if name.startswith("SLURM_")]
    (candidate.root_dir.parents[1] / "evaluating").write_text(f"as {slurm}")
    hang()
    return GOOD


def search_and_hang(folder: Path) -> None:
    folder.mkdir()
    (folder / "parent").write_text(str(os.getpid()))
    executor = IsolatedExecutor(Acting(note_and_hang), NoPruner(), folder / "worker")
    list(run_trials(executor, [trial(0)]))


def main() -> None:
    """Runs as many searches as the command line says, each in a fork."""
    folder, searches = Path(sys.argv[1]), int(sys.argv[2])
    for i in range(searches):
        if os.fork() == 0:
            os.setsid()
            search_and_hang(folder / str(i))
    with suppress(ChildProcessError):
        while True:
            os.wait()
