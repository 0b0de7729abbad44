"""A batch has one history, however many of it run side by side and whichever ends first; and no worker is left idle."""

import io
import random
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.builders import TARGET, state_of
from tests.nas.faults import IN_PROCESS, Faulty
from tests.nas.loops import ONE_LAYER, ONE_LAYER_TARGET, Failing, FakeExecutor, Listed, Recorder, cells, run_trials
from vseg_nas.nas.executors.executor import Attempt, Died, Executor
from vseg_nas.nas.executors.serial import SerialExecutor
from vseg_nas.nas.fake import FakeEvaluator
from vseg_nas.nas.loop import SearchLoop
from vseg_nas.nas.pruners import HalfwayPruner, MedianPruner, NoPruner
from vseg_nas.nas.queue import MAX_ATTEMPTS
from vseg_nas.nas.settings import Budget
from vseg_nas.nas.store import TrialStore
from vseg_nas.nas.strategies.base import build_strategy
from vseg_nas.nas.strategies.settings import ReinforceSettings
from vseg_nas.nas.trial import Evaluator, FailureKind, Trial
from vseg_nas.space import Genotype, SearchSpace

BATCH, TRIALS = 5, 43
RECIPE = Faulty(IN_PROCESS, share=0.2)


def unsafe_store(path: Path) -> TrialStore:
    """Nobody kills these searches: no need to wait for the disk."""
    store = TrialStore(path)
    store._connection.execute("PRAGMA synchronous = OFF")
    return store


class Shuffled(FakeExecutor):
    """Has up to `workers` trials under way and evaluates them in any order; every third process dies."""

    def __init__(self, evaluator: Evaluator, workers: int, seed: int, deaths: float = 0.3) -> None:
        super().__init__()
        self._serial = SerialExecutor(evaluator)
        self._workers = workers
        self._rng = random.Random(seed)
        self._deaths = deaths
        self.busy: list[int] = []
        """How many were under way at each end."""
        self._died: set[int] = set()

    def has_room(self) -> bool:
        return len(self.running) < self._workers

    def wait(self) -> list[Attempt]:
        self.busy.append(len(self.running))
        trial = self.running.pop(self._rng.randrange(len(self.running)))
        if trial.id not in self._died and self._rng.random() < self._deaths:
            self._died.add(trial.id)
            return [Attempt(trial, Died("killed"))]
        return list(run_trials(self._serial, [trial], self.on_epoch))


class Interrupting(Recorder):
    """Ctrl-C at the k-th event."""

    def __init__(self, after: int) -> None:
        super().__init__()
        self.after = after

    def on_epoch(self, trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
        self._count()

    def on_trial_start(self, trial: Trial) -> None:
        self._count()

    def on_trial_end(self, trial: Trial, trials: Sequence[Trial], diagnostics: dict[str, float]) -> None:
        self._count()

    def _count(self) -> None:
        self.after -= 1
        if self.after == 0:
            raise KeyboardInterrupt


def search(
    store: TrialStore, workers: int | None, seed: int = 0, interrupt: int = -1, **options: Any
) -> tuple[list[Trial], Any]:
    """The trials and the state of a search with failures, stops and cells met again; `workers` None: serial."""
    rule = HalfwayPruner(0, initial_average=0.3, decay=0.9)
    evaluator = RECIPE(rule, Path())
    deaths = 0.3 if interrupt < 0 else 0
    executor: Executor = SerialExecutor(evaluator) if workers is None else Shuffled(evaluator, workers, seed, deaths)
    options = {"batch": BATCH} | options
    loop = SearchLoop(
        build_strategy(ReinforceSettings(learning_rate=0.05), ONE_LAYER, 0),
        executor,
        rule,
        store,
        seed=1,
        budget=Budget(TRIALS),
        failed_reward=0.0,
        max_failures_in_a_row=99,
        listeners=[Interrupting(interrupt)],
        **options,
    )
    return loop.run(), state_of(store)


@pytest.fixture(scope="module")
def serial(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Trial], Any]:
    with unsafe_store(tmp_path_factory.mktemp("serial") / "search.sqlite") as store:
        return search(store, None)


def test_the_serial_search_has_something_to_lose(serial: tuple[list[Trial], Any]) -> None:
    ended, _ = serial
    assert {str(trial.state) for trial in ended} == {"complete", "stopped", "failed"}
    within = [t for t in ended if t.reused_from is not None and t.reused_from // BATCH == t.id // BATCH]
    assert len(within) > 1  # equal cells in one batch
    assert [trial.id for trial in ended] == list(range(TRIALS))


@pytest.mark.parametrize("workers", [1, 2, 5, 9])
def test_side_by_side_is_one_after_the_other(tmp_path: Path, serial: tuple[list[Trial], Any], workers: int) -> None:
    for seed in range(2):
        with unsafe_store(tmp_path / f"{seed}.sqlite") as store:
            assert search(store, workers, seed) == serial
            assert store.trials() == serial[0]
            assert store.unfinished() == []


def test_interrupted_anywhere_and_continued_is_never_interrupted(
    tmp_path: Path, serial: tuple[list[Trial], Any]
) -> None:
    rng = random.Random(0)
    for seed in range(2):
        with unsafe_store(tmp_path / f"{seed}.sqlite") as store:
            interruptions = 0
            while True:
                try:
                    found = search(store, rng.choice((None, 2, 4)), seed, interrupt=rng.randrange(1, 60))
                except KeyboardInterrupt:
                    interruptions += 1
                    assert {store.attempts(trial) for trial in store.unfinished()} <= {0}
                else:
                    break
            assert interruptions > 1
            assert found[1] == serial[1]
            assert store.trials() == serial[0]


def test_another_batch_is_another_history(tmp_path: Path, serial: tuple[list[Trial], Any]) -> None:
    with unsafe_store(tmp_path / "search.sqlite") as store:
        assert search(store, None, batch=4)[0] != serial[0]


def test_a_batch_is_judged_by_the_rule_as_it_was_before(tmp_path: Path) -> None:
    """Median of none, then of the four before: .2 of each cell's score at half-way is below or above it by hand."""
    rule, strategy = MedianPruner(warm_up=1), Listed([*cells(4), *reversed(cells(8)[4:])])
    with unsafe_store(tmp_path / "search.sqlite") as store:
        loop = SearchLoop(
            strategy,
            SerialExecutor(FakeEvaluator(ONE_LAYER_TARGET, rule, noise=0)),
            rule,
            store,
            seed=0,
            budget=Budget(8),
            batch=4,
        )
        halfway = [sum(map(int.__eq__, cell.tokens, ONE_LAYER_TARGET.tokens)) / 10 for cell in strategy.cells]
        first, second = halfway[:4], halfway[4:]
        median = sum(sorted(first)[1:3]) / 2
        expected = ["complete"] * 4 + ["complete" if score >= median else "stopped" for score in second]
        assert len(set(expected[4:])) == 2
        assert [str(trial.state) for trial in loop.run()] == expected
    assert rule.state_dict()["scores"] == halfway


def listed(store: TrialStore, strategy: Listed, executor: Executor, trials: int, **options: Any) -> SearchLoop:
    return SearchLoop(strategy, executor, NoPruner(), store, seed=0, budget=Budget(trials), **options)


def test_the_second_of_two_equal_cells_in_a_batch_waits_and_runs_if_the_first_has_failed(tmp_path: Path) -> None:
    one, other = cells(2)
    evaluator = Failing({0: ValueError("bang")})
    with unsafe_store(tmp_path / "search.sqlite") as store:
        strategy = Listed([one, one, other, one])
        ended = listed(store, strategy, Shuffled(evaluator, 1, 0, deaths=0), 4, batch=4).run()
    assert [str(trial.state) for trial in ended] == ["failed", "complete", "complete", "complete"]
    assert [trial.reused_from for trial in ended] == [None, None, None, 1]
    assert strategy.told == ended


def test_an_asynchronous_search_tells_as_trials_end_and_leaves_no_worker_idle(tmp_path: Path) -> None:
    strategy = Listed(distinct(24))
    executor = Shuffled(FakeEvaluator(TARGET), 4, 0)
    with unsafe_store(tmp_path / "search.sqlite") as store:
        ended = listed(store, strategy, executor, 24, asynchronous=True).run()
        assert [t.id for t in store.trials()] == list(range(24))
        assert store.unfinished() == []
    assert sorted(trial.id for trial in ended) == list(range(24))
    assert [trial.id for trial in ended] != list(range(24))
    assert strategy.told == ended
    assert executor.busy[:-4] == [4] * (len(executor.busy) - 4)


def distinct(count: int) -> list[Genotype]:
    rng, found = random.Random(0), dict[str, Genotype]()
    while len(found) < count:
        cell = SearchSpace(2).sample(rng)
        found[cell.key] = cell
    return list(found.values())


def test_an_asynchronous_search_interrupted_anywhere_has_every_trial_once(tmp_path: Path) -> None:
    rng = random.Random(1)
    for seed in range(2):
        with unsafe_store(tmp_path / f"{seed}.sqlite") as store:
            while True:
                interrupt = rng.randrange(1, 60)
                try:
                    search(store, 4, seed, interrupt, asynchronous=True)
                except KeyboardInterrupt:
                    continue
                break
            trials = store.trials()
        state = torch.load(io.BytesIO(unsafe_store(tmp_path / f"{seed}.sqlite").snapshot() or b""), weights_only=True)
        assert [trial.id for trial in trials] == list(range(TRIALS))
        assert all(trial.state.is_final for trial in trials)
        assert state["strategy"]["pending"] == []
        expected = {trial.id: RECIPE.fault(trial.seed) is not None for trial in trials if trial.reused_from is None}
        assert {trial.id: trial.failure is not None for trial in trials if trial.reused_from is None} == expected
        keys = [t.genotype.key for t in trials if t.evaluation is not None and t.reused_from is None]
        assert len(keys) == len(set(keys))  # no cell is evaluated twice


def test_one_cell_again_and_again_does_not_use_the_budget_up_unheard(tmp_path: Path) -> None:
    """While its first evaluation runs, at most as many of its like wait as trials run."""
    strategy = Listed(cells(1) * 30)
    recorder = Waiting(strategy)
    with unsafe_store(tmp_path / "search.sqlite") as store:
        executor = Shuffled(FakeEvaluator(TARGET), 8, 0)
        ended = listed(store, strategy, executor, 30, asynchronous=True, listeners=[recorder]).run()
    assert len(ended) == 30
    assert recorder.most <= 2


class Waiting(Recorder):
    """The most cells that were asked for and not told when an epoch ended."""

    most = 0

    def __init__(self, strategy: Listed) -> None:
        super().__init__()
        self.strategy = strategy

    def on_epoch(self, trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
        self.most = max(self.most, self.strategy.asked - len(self.strategy.told))


@pytest.mark.parametrize("asynchronous", [False, True])
def test_three_deaths_of_its_process_are_a_failure(tmp_path: Path, asynchronous: bool) -> None:
    class Deadly(FakeExecutor):
        def has_room(self) -> bool:
            return not self.running

        def wait(self) -> list[Attempt]:
            return [Attempt(self.running.pop(), Died("its process ended"))]

    with unsafe_store(tmp_path / "search.sqlite") as store:
        ended = listed(store, Listed(cells(4)), Deadly(), 4, batch=2, asynchronous=asynchronous).run()
        assert [store.attempts(trial) for trial in ended] == [MAX_ATTEMPTS] * 4
    assert [str(trial.failure) for trial in ended] == ["killed"] * 4


class DyingBesideOthers(FakeExecutor):
    """The process of trial 1 dies whenever it is tried, while trial 0 is under way; then Ctrl-C, or trial 0 ends."""

    def __init__(self, evaluator: Evaluator, interrupted: bool) -> None:
        super().__init__()
        self._serial = SerialExecutor(evaluator)
        self._interrupted = interrupted

    def wait(self) -> list[Attempt]:
        trial = self.running.pop()
        if trial.id == 1:
            return [Attempt(trial, Died("killed"))]
        if self._interrupted:
            raise KeyboardInterrupt
        return list(run_trials(self._serial, [trial], self.on_epoch))


def test_a_third_death_that_waits_for_its_turn_is_a_failure_also_after_ctrl_c(tmp_path: Path) -> None:
    found = []
    for name, interruptions in (("whole", 0), ("cut", 2)):
        with unsafe_store(tmp_path / name) as store:
            for interrupted in [True] * interruptions + [False]:
                rule = NoPruner()
                loop = SearchLoop(
                    Listed(cells(2)),
                    DyingBesideOthers(FakeEvaluator(TARGET, rule), interrupted),
                    rule,
                    store,
                    seed=1,
                    budget=Budget(2),
                    failed_reward=0.0,
                    batch=2,
                )
                if interrupted:
                    with pytest.raises(KeyboardInterrupt):
                        loop.run()
                else:
                    found.append(loop.run())
    assert [trial.failure for trial in found[0]] == [None, FailureKind.KILLED]
    assert found[0] == found[1]
