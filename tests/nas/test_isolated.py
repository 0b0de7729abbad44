"""Nothing that a candidate does to its process harms the search, and a search in children is the same search."""

import dataclasses
import errno
import multiprocessing.util
import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from multiprocessing import forkserver
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch

from tests.builders import GOOD, SPACE
from tests.nas.faults import (
    IN_PROCESS,
    Acting,
    Candidate,
    Dead,
    DyingOnce,
    Faulty,
    Raising,
    allocate,
    hang,
    hang_and_resist,
    trial,
)
from tests.nas.isolated_search import check_ends, check_faults, children, isolated, search
from tests.nas.loops import run_trials
from tests.processes import PIPE, start
from vseg_nas.errors import DataError, RunError
from vseg_nas.nas.executors.executor import Died, Failure
from vseg_nas.nas.loop import SearchLoop
from vseg_nas.nas.pruners import NoPruner
from vseg_nas.nas.queue import MAX_ATTEMPTS
from vseg_nas.nas.settings import Budget
from vseg_nas.nas.store import TrialStore
from vseg_nas.nas.strategies.base import build_strategy
from vseg_nas.nas.strategies.settings import RandomSettings
from vseg_nas.nas.trial import Evaluation, FailureKind, Trial
from vseg_nas.runs.signals import IGNORED_SIGNALS


@pytest.fixture(autouse=True)
def nothing_left() -> Iterator[None]:
    yield
    assert children() == []


@pytest.mark.long
def test_every_kind_of_fault_is_a_failed_trial_of_that_kind(tmp_path: Path) -> None:
    check_faults(tmp_path, trials=40, share=0.5)


@pytest.mark.long
def test_a_search_in_children_is_the_search_in_process(tmp_path: Path) -> None:
    factory = Faulty(IN_PROCESS, share=0.3)
    serial = search(tmp_path, factory, "serial", 30)
    assert search(tmp_path, factory, "isolated", 30, limit_s=60) == serial
    assert {str(trial.state) for trial in serial[0]} == {"complete", "stopped", "failed"}


@pytest.mark.long
def test_a_batch_has_one_history_however_many_workers_evaluate_it(tmp_path: Path) -> None:
    factory = Faulty((*IN_PROCESS, "SIGKILL"), share=0.3)
    found = []
    for workers in (1, 2):
        folder = tmp_path / str(workers)
        folder.mkdir()
        found.append(search(folder, factory, "isolated", 12, batch=4, workers=workers))
    assert found[0] == found[1]
    assert {str(trial.state) for trial in found[0][0]} == {"complete", "stopped", "failed"}
    assert FailureKind.KILLED in {trial.failure for trial in found[0][0]}


@pytest.mark.long
def test_a_candidate_whose_process_died_once_changes_nothing(tmp_path: Path) -> None:
    markers = tmp_path / "markers"
    markers.mkdir()
    factory = Faulty(share=0)
    serial = search(tmp_path, factory, "serial", 12)
    assert search(tmp_path, DyingOnce(markers), "isolated", 12) == serial
    deaths = list(markers.iterdir())
    assert len(deaths) > 3
    with TrialStore(tmp_path / "isolated" / "search.sqlite") as store:
        attempts = [store.attempts(trial) for trial in store.trials()]
    assert attempts.count(2) == len(deaths)


def results(folder: Path, act: Any, trials: int = 1, **options: Any) -> list[Any]:
    """What came of one attempt at each of some trials."""
    executor = isolated(Acting(act), folder, **options)
    return [result for _, result in run_trials(executor, map(trial, range(trials)))]


def its_process(candidate: Candidate) -> Evaluation:
    """Whose number it is; the second candidate fails, the third dies, the fifth hangs, the seventh loses the GPU."""
    match candidate.seed - 10:
        case 1:
            raise ValueError(os.getpid())
        case 2:
            os._exit(0)
        case 4:
            hang()
        case 6:
            lose_the_gpu()
    return dataclasses.replace(GOOD, parameters=os.getpid())


def lose_the_gpu() -> None:
    """What torch does after a failed assertion on the device, for a machine without one."""
    error = RuntimeError("CUDA error: device-side assert triggered")
    torch.cuda.is_initialized = lambda: True
    torch.cuda.synchronize = torch.cuda.empty_cache = Mock(side_effect=error)
    raise error


def test_one_child_serves_until_it_has_died_or_is_of_no_more_use(tmp_path: Path) -> None:
    found = results(tmp_path, its_process, 8, limit_s=1.0)
    first, third, fifth, seventh = (found[i].parameters for i in (0, 3, 5, 7))
    assert f"ValueError({first})" in found[1].reason
    assert found[2] == Died("its process ended with status 0")
    assert found[4] == Failure(FailureKind.TIMEOUT, "took longer than 1 s")
    assert found[6].kind is FailureKind.ERROR
    assert "device-side assert" in found[6].reason
    assert len({first, third, fifth, seventh, os.getpid()}) == 5


def notes(candidate: Candidate) -> Path:
    """Where candidates of one executor leave word for each other."""
    return candidate.root_dir.parents[1]


def wait_for_a_successor(candidate: Candidate) -> Evaluation:
    """The first candidate waits until the third has ended; the second is killed as soon as the first has begun."""
    number = candidate.seed - 10
    (notes(candidate) / f"begun {number}").touch()
    match number:
        case 0:
            while not (notes(candidate) / "begun 2").exists():
                time.sleep(0.02)
        case 1:
            while not (notes(candidate) / "begun 0").exists():
                time.sleep(0.02)
            os.kill(os.getpid(), signal.SIGKILL)
    return dataclasses.replace(GOOD, parameters=os.getpid())


def test_a_killed_candidate_does_not_disturb_its_neighbour(tmp_path: Path) -> None:
    executor = isolated(Acting(wait_for_a_successor), tmp_path, workers=2)
    found = {trial.id: result for trial, result in run_trials(executor, map(trial, range(3)))}
    assert found[1] == Died("its process ended by SIGKILL")
    pids = [result.parameters for result in (found[0], found[2]) if isinstance(result, Evaluation)]
    assert len({*pids, os.getpid()}) == 3


def hang_or_meet(candidate: Candidate) -> Evaluation:
    if candidate.seed == 10:
        hang_and_resist()
    time.sleep(0.1)
    return GOOD


def test_a_candidate_that_is_too_slow_does_not_hold_its_neighbours_up(tmp_path: Path) -> None:
    executor = isolated(Acting(hang_or_meet), tmp_path, workers=2, limit_s=1.0, grace_s=4.0)
    found = [(trial.id, result) for trial, result in run_trials(executor, map(trial, range(12)))]
    assert [result for id_, result in found if id_ > 0] == [GOOD] * 11
    assert dict(found)[0] == Failure(FailureKind.TIMEOUT, "took longer than 1 s")
    assert found[-1][0] == 0


def exit_slowly(candidate: Candidate) -> Evaluation:
    multiprocessing.util.Finalize(None, time.sleep, args=[0.5], exitpriority=0)
    sys.exit(3)


def test_how_a_process_ended_is_known_even_if_it_took_its_time(tmp_path: Path) -> None:
    assert results(tmp_path, exit_slowly) == [Died("its process ended with status 3")]


def end_between_trials(candidate: Candidate) -> Evaluation:
    threading.Timer(0.2, os._exit, [1]).start()
    return GOOD


def test_a_child_that_dies_idle_costs_no_attempt(tmp_path: Path) -> None:
    found = []
    for _, result in run_trials(isolated(Acting(end_between_trials), tmp_path), map(trial, range(3))):
        found.append(result)
        time.sleep(0.5)
    assert found == [GOOD] * 3


def test_a_candidate_that_resists_is_killed_after_the_grace(tmp_path: Path) -> None:
    started = time.monotonic()
    (result,) = results(tmp_path, resist, limit_s=0.5, grace_s=0.5)
    assert result.kind is FailureKind.TIMEOUT
    assert 1.0 <= time.monotonic() - started < 10


def resist(candidate: Candidate) -> Evaluation:
    hang_and_resist()
    return GOOD


def allocate_it(candidate: Candidate) -> Evaluation:
    allocate()
    return GOOD


def test_a_memory_limit_contains_a_real_allocation_and_nothing_else_does(tmp_path: Path) -> None:
    (contained,) = results(tmp_path, allocate_it, memory_gib=3.0)
    assert contained.kind is FailureKind.OOM
    assert "4294967296 bytes" in contained.reason
    assert results(tmp_path, allocate_it) == [GOOD]
    with pytest.raises(RunError, match=r"^executor.memory_gib: found 0.01, expected more than \d\.\d\d, which"):
        results(tmp_path, allocate_it, memory_gib=0.01)


@pytest.mark.long
@pytest.mark.parametrize("deaths", [1, 2, 1000])
def test_a_fork_server_that_is_killed_at_its_start_is_replaced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, deaths: int
) -> None:
    killed: list[int] = []
    ensure_running = forkserver.ensure_running

    def ensure_and_kill(*_: object) -> None:
        ensure_running()
        if len(killed) < deaths:
            killed.append(forkserver._forkserver._forkserver_pid)  # type: ignore[attr-defined]
            os.kill(killed[-1], signal.SIGKILL)
            os.waitid(os.P_PID, killed[-1], os.WEXITED | os.WNOWAIT)

    monkeypatch.setattr(forkserver, "ensure_running", ensure_and_kill)
    monkeypatch.setattr(forkserver.ForkServer, "ensure_running", ensure_and_kill)  # before a process is made
    if deaths < 3:
        assert results(tmp_path, good) == [GOOD]
    else:
        with pytest.raises(RunError, match=r"^executor=isolated: the fork server ended 3 times before it had made a "):
            results(tmp_path, good)
        assert len(killed) == 2 * 3


def good(candidate: Candidate) -> Evaluation:
    return GOOD


def report_and_take_a_second(candidate: Candidate) -> Evaluation:
    candidate.progress(1, 2, None)
    for _ in range(10):
        time.sleep(0.1)
    return GOOD


@pytest.mark.long
def test_a_jump_of_time_is_no_candidate_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As after a suspension; a candidate that hangs, while the search does not, is too slow all the same."""
    jumps = iter([100.0])
    offset = [0.0]
    monotonic = time.monotonic
    monkeypatch.setattr(time, "monotonic", lambda: monotonic() + offset[0])

    def jump(trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
        offset[0] += next(jumps, 0.0)

    executor = isolated(Acting(report_and_take_a_second), tmp_path, limit_s=20.0)
    assert [result for _, result in run_trials(executor, [trial(0)], jump)] == [GOOD]
    assert offset == [100.0]


@pytest.mark.slow
@pytest.mark.parametrize(
    ("who", "kind"), [("all", None), ("search", None), ("candidate", FailureKind.TIMEOUT), ("nobody", None)]
)
def test_time_of_suspension_is_no_candidate_s(tmp_path: Path, who: str, kind: FailureKind | None) -> None:
    with start("tests.nas.suspended_search", str(tmp_path), stdout=PIPE, start_new_session=True) as search:
        assert search.stdout is not None
        candidate = int(search.stdout.readline())
        stopped = {"all": [search.pid, candidate], "search": [search.pid], "candidate": [candidate], "nobody": []}[who]
        for number in (signal.SIGSTOP, signal.SIGCONT):
            for process in stopped:
                os.kill(process, number)
            time.sleep(5)
        assert search.stdout.read().strip() == ("None" if kind is None else str(kind))


def surroundings(candidate: Candidate) -> Evaluation:
    """Counts the files in the root dir, after signals that would end any other process, and some noise."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, IGNORED_SIGNALS)  # as under a fork server that somebody else has started
    for number in (signal.SIGINT, signal.SIGUSR1):
        os.kill(os.getpid(), number)
    print("noise")  # noqa: T201
    os.write(2, b"more noise\n")
    files = len(list(candidate.root_dir.iterdir()))
    (candidate.root_dir / "hpc_ckpt_1.ckpt").touch()
    return dataclasses.replace(GOOD, parameters=files)


def test_a_child_is_deaf_and_quiet_and_has_a_folder_of_its_own(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "worker").mkdir()
    (tmp_path / "worker" / "hpc_ckpt_9.ckpt").touch()  # Lightning would go on from it
    (result,) = results(tmp_path, surroundings)
    assert result.parameters == 0
    assert capfd.readouterr() == ("", "")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["worker.log"]
    assert "noise" in (tmp_path / "worker.log").read_text()


@pytest.mark.parametrize(
    "error",
    [
        DataError("masks/1.png: cannot be read"),
        OSError(errno.ENOSPC, "No space left on device", "file"),
        OSError("odd"),
    ],
)
def test_what_is_nobodys_fault_ends_the_search_with_its_line(tmp_path: Path, error: Exception) -> None:
    with pytest.raises(type(error)) as raised:
        list(run_trials(isolated(Raising(error), tmp_path), [trial(0)]))
    assert str(raised.value) == str(error)
    with pytest.raises(type(error)) as raised:
        list(run_trials(isolated(Raising(error, at_once=True), tmp_path), [trial(0)]))
    assert str(raised.value) == str(error)


def test_an_evaluator_that_cannot_be_built_is_no_candidates_fault(tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"cannot be built in its own process: ZeroDivisionError\('by'\)$"):
        list(run_trials(isolated(Raising(ZeroDivisionError("by"), at_once=True), tmp_path), [trial(0)]))
    with pytest.raises(RunError, match=r"ended by SIGKILL before the first; see .*worker.log$"):
        list(run_trials(isolated(Dead(), tmp_path), [trial(0)]))


def test_a_search_ended_by_an_error_in_the_child_uses_no_attempt_up(tmp_path: Path) -> None:
    with TrialStore(tmp_path / "search.sqlite") as store:
        executor = isolated(Raising(OSError(errno.ENOSPC, "No space left")), tmp_path)
        loop = SearchLoop(
            build_strategy(RandomSettings(), SPACE, 0), executor, NoPruner(), store, seed=1, budget=Budget(2)
        )
        for _ in range(MAX_ATTEMPTS + 1):
            with pytest.raises(OSError, match="No space left"):
                loop.run()
        assert [store.attempts(trial) for trial in store.trials()] == [0]


@pytest.mark.parametrize("workers", [1, 3])
def test_an_interrupted_search_leaves_no_child(tmp_path: Path, workers: int) -> None:
    running: list[Trial] = []
    interrupted_s: list[float] = []

    def interrupt(trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
        running.append(trial)
        if len(running) == workers:
            assert len(children()) == workers
            interrupted_s.append(time.monotonic())
            raise KeyboardInterrupt

    executor = isolated(Acting(report_and_hang), tmp_path, workers=workers)
    with pytest.raises(KeyboardInterrupt):
        list(run_trials(executor, map(trial, range(workers)), interrupt))
    assert children() == []
    assert time.monotonic() - interrupted_s[0] < 5
    assert not (tmp_path / "worker").exists()


def report_and_hang(candidate: Candidate) -> Evaluation:
    candidate.progress(1, 2, None)
    hang()
    return GOOD


@pytest.mark.long
def test_no_process_is_left_after_any_end_of_the_parent(tmp_path: Path) -> None:
    check_ends(tmp_path, searches=2)
