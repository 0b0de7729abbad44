import io
import itertools
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from vseg_nas.errors import DataError, RunError
from vseg_nas.nas.executor import SerialExecutor
from vseg_nas.nas.fake import FakeEvaluator
from vseg_nas.nas.loop import MAX_ATTEMPTS, Budget, SearchLoop
from vseg_nas.nas.stopping import Median, NeverStop
from vseg_nas.nas.store import TrialStore
from vseg_nas.nas.strategy import Strategy, build_strategy
from vseg_nas.nas.trial import Evaluation, FailureKind, Progress, Trial, TrialState, derive_seed
from vseg_nas.space import Genotype, SearchSpace

SPACE = SearchSpace(1)
TARGET = SPACE.genotype([0, 1, 2, 3, 4])


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
        super().__init__(TARGET, noise=0.0)
        self.errors = errors
        self.evaluated: list[Genotype] = []

    def evaluate(self, genotype: Genotype, seed: int, progress: Progress) -> Evaluation:
        self.evaluated.append(genotype)
        progress(1, 4, None)
        error = self.errors.pop(len(self.evaluated) - 1, None)
        if error is not None:
            raise error
        return super().evaluate(genotype, seed, progress)


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


@pytest.fixture
def store(tmp_path: Path) -> TrialStore:
    return TrialStore(tmp_path / "search.sqlite")


def cells(n: int) -> list[Genotype]:
    """Different cells, no two of them the same network."""
    tokens = itertools.product(range(5), range(5), [0], [0], [2])
    return [SPACE.genotype(string) for string in itertools.islice(tokens, n)]


def make_loop(
    store: TrialStore, strategy: Listed | Strategy, evaluator: FakeEvaluator, trials: int, **options: Any
) -> SearchLoop:
    budget = options.pop("budget", Budget(trials))
    return SearchLoop(strategy, SerialExecutor(evaluator), NeverStop(), store, seed=5, budget=budget, **options)


def test_asks_evaluates_records_and_tells(store: TrialStore) -> None:
    strategy, recorder = Listed(cells(2)), Recorder()
    ended = make_loop(store, strategy, FakeEvaluator(TARGET, noise=0, epochs=2), 2, listeners=[recorder]).run()
    assert strategy.told == ended == store.trials()
    assert [trial.seed for trial in ended] == [derive_seed(5, "trial", 0), derive_seed(5, "trial", 1)]
    assert [trial.reward for trial in ended] == [0.2, 0.4]  # (0, 0, 0, 0, 2) and (0, 1, 0, 0, 2)
    assert recorder.events == [
        ("start", 0, 2),
        ("trial", 0, "running"),
        ("epoch", 0, 1, 2, 0.1),
        ("epoch", 0, 2, 2, 0.2),
        ("trial end", 0, "complete", 1, {"told": 1.0}),
        ("trial", 1, "running"),
        ("epoch", 1, 1, 2, 0.2),
        ("epoch", 1, 2, 2, 0.4),
        ("trial end", 1, "complete", 2, {"told": 2.0}),
        ("end", 2),
    ]


def test_a_cell_met_before_is_not_trained_again(store: TrialStore) -> None:
    one_way, other_way = SPACE.genotype([0, 1, 2, 3, 0]), SPACE.genotype([1, 0, 3, 2, 0])
    strategy, evaluator = Listed([one_way, *cells(1), other_way, one_way]), Failing({})
    ended = make_loop(store, strategy, evaluator, 4).run()
    assert evaluator.evaluated == [one_way, *cells(1)]
    assert [trial.reused_from for trial in ended] == [None, None, 0, 0]
    assert [trial.reward for trial in ended] == [0.8, 0.2, 0.8, 0.8]
    assert strategy.told == ended


def test_a_stopped_cell_met_again_is_stopped_again(store: TrialStore) -> None:
    rule = Median(warm_up=1)
    good, poor = SPACE.genotype([0, 1, 2, 3, 4]), SPACE.genotype([1, 0, 0, 0, 2])
    loop = SearchLoop(
        Listed([good, poor, poor]),
        SerialExecutor(FakeEvaluator(TARGET, rule)),
        rule,
        store,
        seed=0,
        budget=Budget(3),
    )
    ended = loop.run()
    assert [str(trial.state) for trial in ended] == ["complete", "stopped", "stopped"]
    assert [trial.reused_from for trial in ended] == [None, None, 1]
    assert len(rule.state_dict()["scores"]) == 2


@pytest.mark.parametrize("failed_reward", [None, 0.0])
def test_a_failure_is_a_state_and_the_search_goes_on(store: TrialStore, failed_reward: float | None) -> None:
    strategy, evaluator = Listed(cells(2) + cells(2)), Failing({0: ValueError("bang")})
    ended = make_loop(store, strategy, evaluator, 4, failed_reward=failed_reward).run()
    assert [str(trial.state) for trial in ended] == ["failed", "complete", "complete", "complete"]
    assert ended[0].reason is not None
    assert ended[0].failure is FailureKind.ERROR
    assert ended[0].reason.startswith("error: ValueError('bang') at test_loop.py:")
    assert strategy.told[0].reward == failed_reward
    assert store.trials()[0].reward == failed_reward
    assert len(evaluator.evaluated) == 3  # the failed cell was tried again, the good one reused


def test_ten_failures_in_a_row_are_a_broken_setup(store: TrialStore) -> None:
    errors: dict[int, BaseException] = {i: ValueError(f"bang {i}") for i in range(20) if i != 9}
    loop = make_loop(store, Listed(cells(25)), Failing(errors), 25)
    with pytest.raises(RunError, match=r"^10 candidates failed in a row; the last: error: ValueError\('bang 19'\)"):
        loop.run()
    assert store.counts()[TrialState.FAILED] == 19
    assert loop.run()[-1].id == 24  # after mending it, the search goes on where it stopped


INTERRUPTIONS = [KeyboardInterrupt(), OSError("disk"), DataError("lost"), SystemExit(1), ZeroDivisionError()]


@pytest.mark.parametrize("interruption", INTERRUPTIONS[:-1])
def test_an_interrupted_trial_stays_running_and_is_the_first_to_run_again(
    store: TrialStore, interruption: BaseException
) -> None:
    evaluator, recorder = Failing({1: interruption}), Recorder()
    with pytest.raises(type(interruption)):
        make_loop(store, Listed(cells(3)), evaluator, 3, listeners=[recorder]).run()
    assert [str(trial.state) for trial in store.trials()] == ["complete", "running"]
    assert recorder.events[-1] == ("end", 1)
    make_loop(store, Listed(cells(3)), evaluator, 3, listeners=[recorder]).run()
    first, second, third = cells(3)
    assert evaluator.evaluated == [first, second, second, third]
    assert ("start", 1, 3) in recorder.events


@pytest.mark.parametrize("interruption", INTERRUPTIONS)
def test_what_raises_uses_no_attempt_up(store: TrialStore, interruption: BaseException) -> None:
    class Interrupted(Recorder):
        def on_epoch(self, trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
            assert store.attempts(trial) == 1
            raise interruption

    for _ in range(2 * MAX_ATTEMPTS):
        with pytest.raises(type(interruption)):
            make_loop(store, Listed(cells(3)), Failing({}), 3, listeners=[Interrupted()]).run()
        (trial,) = store.unfinished()
        assert store.attempts(trial) == 0
    (first, *_) = make_loop(store, Listed(cells(3)), Failing({}), 3).run()
    assert first.state is TrialState.COMPLETE


def test_a_full_disk_that_keeps_the_attempt_counted_is_still_what_ends_the_search(store: TrialStore) -> None:
    class Full(Recorder):
        def on_epoch(self, trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
            store._connection.execute("PRAGMA query_only = ON")  # refused as a full disk would
            raise OSError("No space left on device")

    with pytest.raises(OSError, match="No space"):
        make_loop(store, Listed(cells(1)), Failing({}), 1, listeners=[Full()]).run()


def killed(store: TrialStore, strategy: Listed | Strategy, times: int) -> None:
    """Leaves the store as a process does that is killed `times` times during its second trial."""
    with pytest.raises(KeyboardInterrupt):
        make_loop(store, strategy, Failing({1: KeyboardInterrupt()}), 2).run()
    store.count_attempts(store.unfinished()[0], times)


def test_three_kills_abandon_a_trial_and_the_search_goes_on(store: TrialStore) -> None:
    killed(store, Listed(cells(4)), MAX_ATTEMPTS)
    strategy, evaluator, recorder = Listed(cells(4)), Failing({}), Recorder()
    ended = make_loop(store, strategy, evaluator, 4, listeners=[recorder], failed_reward=0.0).run()
    assert [str(trial.state) for trial in ended] == ["complete", "abandoned", "complete", "complete"]
    assert evaluator.evaluated == cells(4)[2:]
    assert strategy.told[0] == ended[1] == store.trials()[1]
    assert (ended[1].reward, ended[1].seed) == (None, derive_seed(5, "trial", 1))
    assert str(ended[1].reason).startswith("3 attempts, and each ended with the whole process")
    assert [event[1] for event in recorder.events if event[0] != "epoch"] == [1, 1, 2, 2, 3, 3, 4]


def test_two_kills_do_not(store: TrialStore) -> None:
    killed(store, Listed(cells(2)), MAX_ATTEMPTS - 1)
    evaluator = Failing({})
    ended = make_loop(store, Listed(cells(2)), evaluator, 2).run()
    assert evaluator.evaluated == [cells(2)[1]]
    assert ended[1].state is TrialState.COMPLETE
    assert store.attempts(ended[1]) == MAX_ATTEMPTS


def test_the_controller_learns_nothing_from_an_abandoned_trial(store: TrialStore) -> None:
    killed(store, build_strategy("ppo", SPACE, 0), MAX_ATTEMPTS)
    before = torch.load(io.BytesIO(store.snapshot() or b""), weights_only=True)["strategy"]
    strategy = build_strategy("ppo", SPACE, 0)
    make_loop(store, strategy, Failing({}), 2).run()
    after = strategy.state_dict()
    assert (len(before["pending"]), after["pending"]) == (1, [])
    for name, weights in after["policy"].items():
        assert torch.equal(weights, before["policy"][name])
    assert (after["baseline"], after["buffer"]) == (before["baseline"], before["buffer"])


def test_an_abandoned_trial_is_neither_a_failure_in_a_row_nor_the_end_of_a_row(store: TrialStore) -> None:
    errors: dict[int, BaseException] = {i: ValueError(f"bang {i}") for i in range(20)}
    killed(store, Listed(cells(20)), MAX_ATTEMPTS)
    with pytest.raises(RunError, match=r"^10 candidates failed in a row; the last: error: ValueError.*bang 9"):
        make_loop(store, Listed(cells(20)), Failing(errors), 20).run()
    assert store.counts()[TrialState.ABANDONED] == 1


def test_what_a_listener_raises_ends_the_search(store: TrialStore) -> None:
    class Broken(Recorder):
        def on_epoch(self, trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        make_loop(store, Listed(cells(3)), Failing({}), 3, listeners=[Broken()]).run()
    assert store.counts()[TrialState.FAILED] == 0


def test_a_larger_budget_continues_a_finished_search(store: TrialStore) -> None:
    assert len(make_loop(store, Listed(cells(5)), Failing({}), 2).run()) == 2
    assert len(make_loop(store, Listed(cells(5)), Failing({}), 2).run()) == 2
    ended = make_loop(store, Listed(cells(5)), Failing({}), 5).run()
    assert [trial.genotype for trial in ended] == cells(5)


def test_hours_count_over_all_sessions(store: TrialStore, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    class Slow(FakeEvaluator):
        def evaluate(self, genotype: Genotype, seed: int, progress: Progress) -> Evaluation:
            now[0] += 1800
            return super().evaluate(genotype, seed, progress)

    def trials_within(hours: float) -> int:
        budget = Budget(100, hours)
        return len(make_loop(store, Listed(cells(25)), Slow(TARGET), 0, budget=budget).run())

    assert trials_within(0.9) == 2
    now[0] = 5.0  # another process, another clock
    assert trials_within(0.9) == 2
    assert trials_within(2.5) == 5


def test_a_run_of_another_strategy_is_refused(store: TrialStore) -> None:
    make_loop(store, Listed(cells(1)), Failing({}), 1).run()
    with pytest.raises(RunError, match="another strategy or space"):
        SearchLoop(
            build_strategy("ppo", SPACE, 0),
            SerialExecutor(Failing({})),
            NeverStop(),
            store,
            seed=5,
            budget=Budget(2),
        ).run()


def test_ppo_searches_the_fake_space(store: TrialStore) -> None:
    rule = Median()
    loop = SearchLoop(
        build_strategy("ppo", SearchSpace(2), 0),
        SerialExecutor(FakeEvaluator(SearchSpace(2).genotype([0, 1, 2, 3, 4] * 2), rule)),
        rule,
        store,
        seed=0,
        budget=Budget(12),
    )
    ended = loop.run()
    counts = store.counts()
    assert len(ended) == 12 == counts[TrialState.COMPLETE] + counts[TrialState.STOPPED]
    assert counts[TrialState.STOPPED] > 0
