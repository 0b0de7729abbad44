from pathlib import Path

import pytest

from tests.nas.loops import ONE_LAYER, ONE_LAYER_TARGET, Failing, Listed, Recorder, cells, make_loop
from vseg_nas.errors import DataError, RunError
from vseg_nas.nas.executors.serial import SerialExecutor
from vseg_nas.nas.fake import FakeEvaluator
from vseg_nas.nas.loop import SearchLoop
from vseg_nas.nas.pruners import MedianPruner, NoPruner
from vseg_nas.nas.seeds import derive_seed
from vseg_nas.nas.settings import Budget
from vseg_nas.nas.store import TrialStore
from vseg_nas.nas.strategies.base import build_strategy
from vseg_nas.nas.strategies.settings import PPOSettings
from vseg_nas.nas.trial import Evaluation, FailureKind, Progress, Trial, TrialState
from vseg_nas.space import Genotype, SearchSpace


@pytest.fixture
def store(tmp_path: Path) -> TrialStore:
    return TrialStore(tmp_path / "search.sqlite")


def test_asks_evaluates_records_and_tells(store: TrialStore) -> None:
    strategy, recorder = Listed(cells(2)), Recorder()
    ended = make_loop(
        store, strategy, FakeEvaluator(ONE_LAYER_TARGET, noise=0, epochs=2), 2, listeners=[recorder]
    ).run()
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
    one_way, other_way = ONE_LAYER.genotype([0, 1, 2, 3, 0]), ONE_LAYER.genotype([1, 0, 3, 2, 0])
    strategy, evaluator = Listed([one_way, *cells(1), other_way, one_way]), Failing({})
    ended = make_loop(store, strategy, evaluator, 4).run()
    assert evaluator.evaluated == [one_way, *cells(1)]
    assert [trial.reused_from for trial in ended] == [None, None, 0, 0]
    assert [trial.reward for trial in ended] == [0.8, 0.2, 0.8, 0.8]
    assert strategy.told == ended


def test_a_stopped_cell_met_again_is_stopped_again(store: TrialStore) -> None:
    rule = MedianPruner(warm_up=1)
    good, poor = ONE_LAYER.genotype([0, 1, 2, 3, 4]), ONE_LAYER.genotype([1, 0, 0, 0, 2])
    loop = SearchLoop(
        Listed([good, poor, poor]),
        SerialExecutor(FakeEvaluator(ONE_LAYER_TARGET, rule)),
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
    assert ended[0].reason.startswith("error: ValueError('bang') at loops.py:")
    assert strategy.told[0].reward == failed_reward
    assert store.trials()[0].reward == failed_reward
    assert len(evaluator.evaluated) == 3  # the failed cell was tried again, the good one reused


def test_ten_failures_in_a_row_are_a_broken_setup(store: TrialStore) -> None:
    errors: dict[int, BaseException] = {i: ValueError(f"bang {i}") for i in range(20) if i != 9}
    loop = make_loop(store, Listed(cells(25)), Failing(errors), 25)
    with pytest.raises(RunError, match=r"^10 candidates failed in a row; the last: error: ValueError\('bang 19'\)"):
        loop.run()
    assert len(store.trials(TrialState.FAILED)) == 19
    assert loop.run()[-1].id == 24  # after mending it, the search goes on where it stopped


@pytest.mark.parametrize("interruption", [KeyboardInterrupt(), OSError("disk"), DataError("lost"), SystemExit(1)])
def test_an_interrupted_trial_stays_running_and_is_the_first_to_run_again(
    store: TrialStore, interruption: BaseException
) -> None:
    evaluator, recorder = Failing({1: interruption}), Recorder()
    with pytest.raises(type(interruption)):
        make_loop(store, Listed(cells(3)), evaluator, 3, listeners=[recorder]).run()
    assert [str(trial.state) for trial in store.trials()] == ["complete", "running"]
    assert [store.attempts(trial) for trial in store.trials()] == [1, 0]
    assert recorder.events[-1] == ("end", 1)
    make_loop(store, Listed(cells(3)), evaluator, 3, listeners=[recorder]).run()
    first, second, third = cells(3)
    assert evaluator.evaluated == [first, second, second, third]
    assert ("start", 1, 3) in recorder.events


def test_what_a_listener_raises_ends_the_search(store: TrialStore) -> None:
    class Broken(Recorder):
        def on_epoch(self, trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        make_loop(store, Listed(cells(3)), Failing({}), 3, listeners=[Broken()]).run()
    assert len(store.trials(TrialState.FAILED)) == 0


def test_a_larger_budget_continues_a_finished_search(store: TrialStore) -> None:
    assert len(make_loop(store, Listed(cells(5)), Failing({}), 2).run()) == 2
    assert len(make_loop(store, Listed(cells(5)), Failing({}), 2).run()) == 2
    ended = make_loop(store, Listed(cells(5)), Failing({}), 5).run()
    assert [trial.genotype for trial in ended] == cells(5)


def test_hours_count_over_all_sessions(store: TrialStore, monkeypatch: pytest.MonkeyPatch) -> None:
    now = [1000.0]
    monkeypatch.setattr("vseg_nas.nas.search_state.working_s", lambda: now[0])

    class Slow(FakeEvaluator):
        def evaluate(self, genotype: Genotype, seed: int, progress: Progress) -> Evaluation:
            now[0] += 1800
            return super().evaluate(genotype, seed, progress)

    def trials_within(hours: float) -> int:
        budget = Budget(100, hours)
        return len(make_loop(store, Listed(cells(25)), Slow(ONE_LAYER_TARGET), 0, budget=budget).run())

    assert trials_within(0.9) == 2
    now[0] = 5.0  # another process, another clock
    assert trials_within(0.9) == 2
    assert trials_within(2.5) == 5


@pytest.mark.parametrize("batch", [1, 2])
def test_hours_of_suspension_are_not_of_the_budget(
    store: TrialStore, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    now = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: now[0])

    class Suspended(FakeEvaluator):
        def evaluate(self, genotype: Genotype, seed: int, progress: Progress) -> Evaluation:
            now[0] += 36000
            return super().evaluate(genotype, seed, progress)

    loop = make_loop(store, Listed(cells(4)), Suspended(ONE_LAYER_TARGET), 0, budget=Budget(4, hours=1.0), batch=batch)
    assert len(loop.run()) == 4


def test_a_run_of_another_strategy_is_refused(store: TrialStore) -> None:
    make_loop(store, Listed(cells(1)), Failing({}), 1).run()
    with pytest.raises(RunError, match="another strategy or space"):
        SearchLoop(
            build_strategy(PPOSettings(), ONE_LAYER, 0),
            SerialExecutor(Failing({})),
            NoPruner(),
            store,
            seed=5,
            budget=Budget(2),
        ).run()


def test_ppo_searches_the_fake_space(store: TrialStore) -> None:
    rule = MedianPruner()
    loop = SearchLoop(
        build_strategy(PPOSettings(), SearchSpace(2), 0),
        SerialExecutor(FakeEvaluator(SearchSpace(2).genotype([0, 1, 2, 3, 4] * 2), rule)),
        rule,
        store,
        seed=0,
        budget=Budget(12),
    )
    ended = loop.run()
    assert len(ended) == 12 == len(store.trials(TrialState.COMPLETE, TrialState.STOPPED))
    assert store.trials(TrialState.STOPPED)
