"""What uses an attempt at a trial up, and what comes after the last one."""

import io
import shutil
from collections.abc import Generator, Iterable
from pathlib import Path

import pytest
import torch

from tests.nas.loops import SPACE, Failing, Listed, Recorder, cells, make_loop
from vseg_nas.errors import DataError, RunError
from vseg_nas.nas.executor import Died, Outcome, Report
from vseg_nas.nas.loop import MAX_ATTEMPTS, Budget, SearchLoop
from vseg_nas.nas.stopping import NeverStop
from vseg_nas.nas.store import TrialStore
from vseg_nas.nas.strategy import Strategy, build_strategy
from vseg_nas.nas.trial import Evaluation, Trial, TrialState, derive_seed


@pytest.fixture
def store(tmp_path: Path) -> TrialStore:
    return TrialStore(tmp_path / "search.sqlite")


INTERRUPTIONS = [KeyboardInterrupt(), OSError("disk"), DataError("lost"), SystemExit(1), ZeroDivisionError()]


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


def test_an_abandoned_trial_is_none_of_ten_failures_in_a_row(store: TrialStore) -> None:
    errors: dict[int, BaseException] = {i: ValueError(f"bang {i}") for i in range(20)}
    killed(store, Listed(cells(20)), MAX_ATTEMPTS)
    with pytest.raises(RunError, match=r"^10 candidates failed in a row; the last: error: ValueError.*bang 9"):
        make_loop(store, Listed(cells(20)), Failing(errors), 20).run()
    assert store.counts()[TrialState.ABANDONED] == 1


GOOD = Evaluation(0.5, 0.5, 0.5, 0.5, parameters=1, macs=1, seconds=0.0, epochs=1)


class SideBySide:
    """All trials of a batch begin; those in `died` lose their process, those in `ended` end; then a SIGKILL, or not.

    What the store's file is like when a process is killed is what a copy of it is like at that moment.
    """

    def __init__(self, store: Path, killed: Path | None, died: tuple[int, ...], ended: tuple[int, ...]) -> None:
        self._store = store
        self._killed = killed
        self._died = died
        self._ended = ended

    def run(self, trials: Iterable[Trial | None], report: Report) -> Generator[Outcome]:
        drawn = iter(trials)
        begun = {trial.id: trial for trial in iter(lambda: next(drawn, None), None)}
        for id_ in self._died:
            yield Outcome(begun[id_], Died("killed"))
            assert next(drawn) is begun[id_]
        for id_ in begun.keys() & self._ended:
            yield Outcome(begun.pop(id_), GOOD)
        if self._killed is not None:
            shutil.copy(self._store, self._killed)
            raise KeyboardInterrupt
        for trial in begun.values():
            yield Outcome(trial, GOOD)
        assert next(drawn, None) is None


def sessions(folder: Path, kills: int, died: tuple[int, ...], ended: tuple[int, ...]) -> tuple[list[Trial], list[int]]:
    """Trials of a search of one batch that is killed so many times, and attempts at them."""
    for session in range(kills + 1):
        path, killed = folder / f"{session}", None if session == kills else folder / f"{session + 1}"
        executor = SideBySide(path, killed, died, ended)
        with TrialStore(path) as store:
            loop = SearchLoop(Listed(cells(4)), executor, NeverStop(), store, seed=5, budget=Budget(4), batch=4)
            try:
                loop.run()
            except KeyboardInterrupt:
                continue
            trials = store.trials()
            return trials, [store.attempts(trial) for trial in trials]
    raise AssertionError("the last session ends")


@pytest.mark.parametrize("ended", [(), (1, 3)])  # (1, 3): they wait for the turn of 0
def test_kills_of_a_process_that_evaluates_several_are_put_down_to_none(tmp_path: Path, ended: tuple[int, ...]) -> None:
    trials, attempts = sessions(tmp_path, 2 * MAX_ATTEMPTS, (), ended)
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 4
    assert attempts == [1] * 4


def test_deaths_of_its_own_process_are_counted_over_such_kills(tmp_path: Path) -> None:
    trials, attempts = sessions(tmp_path, 1, (2,), ())
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 4
    assert attempts == [1, 1, 3, 1]


@pytest.mark.parametrize(("kills_alone", "state"), [(2, TrialState.COMPLETE), (3, TrialState.ABANDONED)])
def test_what_is_left_of_several_counts_from_when_it_begins_alone(
    tmp_path: Path, kills_alone: int, state: TrialState
) -> None:
    trials, attempts = sessions(tmp_path, 1 + kills_alone, (), (0, 1, 2))
    assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 3 + [state]
    assert attempts == [1, 1, 1, 3]
