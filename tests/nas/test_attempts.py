"""What uses an attempt at a trial up, and what comes after the last one."""

import io
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch

from tests.builders import GOOD
from tests.nas.loops import ONE_LAYER, Failing, FakeExecutor, Listed, Recorder, cells, make_loop
from vseg_nas.errors import DataError, RunError
from vseg_nas.nas.executors.executor import Attempt, Died
from vseg_nas.nas.loop import SearchLoop
from vseg_nas.nas.pruners import NoPruner
from vseg_nas.nas.queue import MAX_ATTEMPTS
from vseg_nas.nas.seeds import derive_seed
from vseg_nas.nas.settings import Budget
from vseg_nas.nas.store import TrialStore
from vseg_nas.nas.strategies.base import Strategy, build_strategy
from vseg_nas.nas.strategies.settings import PPOSettings
from vseg_nas.nas.trial import Trial, TrialState


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
    store.set_attempts(store.unfinished()[0], times)


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
    killed(store, build_strategy(PPOSettings(), ONE_LAYER, 0), MAX_ATTEMPTS)
    before = torch.load(io.BytesIO(store.snapshot() or b""), weights_only=True)["strategy"]
    strategy = build_strategy(PPOSettings(), ONE_LAYER, 0)
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
    assert len(store.trials(TrialState.ABANDONED)) == 1


Kills = Callable[[set[int]], bool]


class SideBySide(FakeExecutor):
    """Evaluates as many as it gets; a SIGKILL ends it as soon as what is begun, and has not ended, asks for one.

    What the store's file is like when a process is killed is what a copy of it is like at that moment.
    """

    def __init__(self, store: Path, killed: Path, kills: Kills, died: tuple[int, ...], ended: tuple[int, ...]) -> None:
        super().__init__()
        self._store = store
        self._killed = killed
        self._kills = kills
        self._died = list(died)
        self._ended = ended

    def wait(self) -> list[Attempt]:
        running = {trial.id: trial for trial in self.running}
        if self._died:
            return [Attempt(self._pop(running[self._died.pop()]), Died("killed"))]
        if ready := running.keys() & self._ended:
            return [Attempt(self._pop(running[min(ready)]), GOOD)]
        if self._kills(set(running)):
            shutil.copy(self._store, self._killed)
            raise KeyboardInterrupt
        return [Attempt(self._pop(running[min(running)]), GOOD)]

    def _pop(self, trial: Trial) -> Trial:
        self.running.remove(trial)
        return trial


def sessions(
    folder: Path, kills: Sequence[Kills], died: tuple[int, ...] = (), ended: tuple[int, ...] = ()
) -> tuple[list[str], list[int]]:
    """How the trials of a search of one batch end, and attempts at them; some die in the first session alone."""
    for session, kill in enumerate([*kills, lambda begun: False]):
        path = folder / f"{session}"
        executor = SideBySide(path, folder / f"{session + 1}", kill, () if session else died, ended)
        with TrialStore(path) as store:
            loop = SearchLoop(Listed(cells(4)), executor, NoPruner(), store, seed=5, budget=Budget(4), batch=4)
            try:
                trials = loop.run()
            except KeyboardInterrupt:
                continue
            return [str(trial.state) for trial in trials], [store.attempts(trial) for trial in trials]
    raise AssertionError("the last session ends")


def always(begun: set[int]) -> bool:
    return True


def test_a_trial_that_ends_the_process_of_several_is_abandoned_and_its_neighbours_are_not(tmp_path: Path) -> None:
    companies: list[set[int]] = []

    def kill(begun: set[int]) -> bool:
        companies.append(begun)
        return 2 in begun

    states, attempts = sessions(tmp_path, [kill] * 10)
    assert states == ["complete", "complete", "abandoned", "complete"]
    assert attempts == [3, 3, 3, 3]
    assert [company for company in companies if 2 in company] == [{0, 1, 2, 3}, {0, 1, 2, 3}, {2}]


def test_trials_that_have_ended_and_wait_for_their_turn_have_no_part_in_a_kill(tmp_path: Path) -> None:
    states, attempts = sessions(tmp_path, [always, always], ended=(1, 3))
    assert states == ["complete"] * 4
    assert attempts == [3, 1, 3, 1]


def test_a_trial_that_is_hit_by_every_kill_is_abandoned_and_no_other(tmp_path: Path) -> None:
    states, attempts = sessions(tmp_path, [always] * 3)
    assert states == ["abandoned", "complete", "complete", "complete"]
    assert attempts == [3, 3, 3, 3]


def test_deaths_of_its_own_process_are_counted_over_kills(tmp_path: Path) -> None:
    assert sessions(tmp_path, [always], died=(2,)) == (["complete"] * 4, [2, 2, 3, 2])
    (tmp_path / "more").mkdir()
    states, attempts = sessions(tmp_path / "more", [], died=(2, 2, 2))
    assert states == ["complete", "complete", "failed", "complete"]
    assert attempts == [1, 1, 3, 1]
