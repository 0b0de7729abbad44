"""Searches in which everything is known: what is asked for, what fails, and what is told to whom."""

import itertools
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from vseg_nas.nas.executors.executor import Attempt, Executor, OnEpoch
from vseg_nas.nas.executors.serial import SerialExecutor
from vseg_nas.nas.fake import FakeEvaluator
from vseg_nas.nas.loop import SearchLoop
from vseg_nas.nas.pruners import NoPruner
from vseg_nas.nas.settings import Budget
from vseg_nas.nas.store import TrialStore
from vseg_nas.nas.strategies.base import Strategy
from vseg_nas.nas.trial import Evaluation, Progress, Trial
from vseg_nas.space import Genotype, SearchSpace

ONE_LAYER = SearchSpace(1)
ONE_LAYER_TARGET = ONE_LAYER.genotype([0, 1, 2, 3, 4])


class Listed:
    """A strategy that goes through a list and writes down what it is told."""

    def __init__(self, cells: Iterable[Genotype]) -> None:
        self.cells = list(cells)
        self.asked = 0
        self.told: list[Trial] = []

    def ask(self, n: int) -> list[Genotype]:
        self.asked += n
        return self.cells[self.asked - n : self.asked]

    def tell(self, trials: Sequence[Trial]) -> None:
        self.told += trials

    def diagnostics(self) -> dict[str, float]:
        return {"told": float(len(self.told))}

    def state_dict(self) -> dict[str, Any]:
        return {"asked": self.asked}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.asked = state["asked"]


class Failing(FakeEvaluator):
    """Raises what it is given on the trials it is given."""

    def __init__(self, errors: dict[int, BaseException]) -> None:
        super().__init__(ONE_LAYER_TARGET, noise=0.0)
        self.errors = errors
        self.evaluated: list[Genotype] = []

    def evaluate(self, genotype: Genotype, seed: int, progress: Progress) -> Evaluation:
        self.evaluated.append(genotype)
        progress(1, 4, None)
        error = self.errors.pop(len(self.evaluated) - 1, None)
        if error is not None:
            raise error
        return super().evaluate(genotype, seed, progress)


class FakeExecutor:
    """Where executors of tests begin: it has room for any number of trials; `running` are those that have not ended."""

    def __init__(self) -> None:
        self.running: list[Trial] = []

    @contextmanager
    def session(self, on_epoch: OnEpoch) -> Iterator[None]:
        self.on_epoch = on_epoch
        self.running = []
        yield

    def has_room(self) -> bool:
        return True

    def submit(self, trial: Trial) -> None:
        self.running.append(trial)

    def wait(self) -> list[Attempt]:
        raise NotImplementedError


def ignore(trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
    """Nobody watches."""


def run_trials(executor: Executor, trials: Iterable[Trial], on_epoch: OnEpoch = ignore) -> Iterator[Attempt]:
    """Attempts every trial once, as a search without a strategy; a trial is drawn when there is room for it."""
    waiting, running, over = iter(trials), 0, False
    with executor.session(on_epoch):
        while not over or running:
            while not over and executor.has_room():
                trial = next(waiting, None)
                over = trial is None
                if trial is not None:
                    executor.submit(trial)
                    running += 1
            for attempt in executor.wait():
                running -= 1
                yield attempt


class Recorder:
    """A listener that writes everything down."""

    def __init__(self) -> None:
        self.events: list[tuple[object, ...]] = []

    def on_start(self, trials: Sequence[Trial], budget: Budget) -> None:
        self.events.append(("start", len(trials), budget.trials))

    def on_trial_start(self, trial: Trial) -> None:
        self.events.append(("trial", trial.id, str(trial.state)))

    def on_epoch(self, trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
        self.events.append(("epoch", trial.id, epoch, epochs, score))

    def on_trial_end(self, trial: Trial, trials: Sequence[Trial], diagnostics: dict[str, float]) -> None:
        self.events.append(("trial end", trial.id, str(trial.state), len(trials), diagnostics))

    def on_end(self, trials: Sequence[Trial]) -> None:
        self.events.append(("end", len(trials)))


def cells(n: int) -> list[Genotype]:
    """Different cells, no two of them the same network."""
    tokens = itertools.product(range(5), range(5), [0], [0], [2])
    return [ONE_LAYER.genotype(string) for string in itertools.islice(tokens, n)]


def make_loop(
    store: TrialStore, strategy: Listed | Strategy, evaluator: FakeEvaluator, trials: int, **options: Any
) -> SearchLoop:
    budget = options.pop("budget", Budget(trials))
    return SearchLoop(strategy, SerialExecutor(evaluator), NoPruner(), store, seed=5, budget=budget, **options)
