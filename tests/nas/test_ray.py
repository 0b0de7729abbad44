"""A search on Ray is the search in process, whatever happens to Ray's processes."""

import errno
import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
import pytest

from tests.builders import GOOD, TINY, state_of
from tests.nas.faults import IN_PROCESS, Acting, Dead, DyingOnce, Faulty, Raising, trial
from tests.nas.loops import Recorder, run_trials
from tests.nas.ray_search import (
    DyingTogether,
    FarAway,
    Meeting,
    NotingItsFolder,
    Slow,
    executor,
    ray_nodes,
    report_and_end,
    report_and_hang,
    rule,
    say_process,
    search_loop,
)
from tests.processes import PIPE, is_alive, left_after, start
from vseg_nas.errors import ConfigError, DataError, RunError
from vseg_nas.nas.executors.executor import Died
from vseg_nas.nas.executors.serial import SerialExecutor
from vseg_nas.nas.executors.worker import EvaluatorFactory
from vseg_nas.nas.store import STORE, TrialStore
from vseg_nas.nas.trial import Evaluation, FailureKind, Trial
from vseg_nas.runs.scratch import scratch

pytest.importorskip("ray")
BATCH = 4
slow = pytest.mark.slow  # each search waits for two processes to import torch


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with ray_nodes(2) as address:
        yield address


def search(
    folder: Path, factory: EvaluatorFactory, address: str | None, trials: int, **options: Any
) -> tuple[list[Trial], list[int], Any]:
    """Trials in the order of telling, attempts at each by id, and the final state; on Ray if there is an address."""
    folder.mkdir()
    here = rule()
    how = SerialExecutor(factory(here, folder)) if address is None else executor(factory, address, here, workers=2)
    with TrialStore(folder / STORE) as store:
        ended = search_loop(store, how, here, trials, **options).run()
        return (ended, *standing(store))


def standing(store: TrialStore) -> tuple[list[int], Any]:
    """Attempts at each trial by id, and the state of the search."""
    return [store.attempts(trial) for trial in store.trials()], state_of(store)


@pytest.mark.long
def test_a_search_on_two_workers_of_which_one_dies_is_the_search_in_process(tmp_path: Path, address: str) -> None:
    (tmp_path / "markers").mkdir()
    serial, _, state = search(tmp_path / "serial", Faulty(share=0), None, BATCH, batch=BATCH)
    factory = DyingOnce(tmp_path / "markers", serial[1].seed)
    found, attempts, found_state = search(tmp_path / "ray", factory, address, BATCH, batch=BATCH)
    assert (found, found_state) == (serial, state)
    deaths = {int(marker.name) for marker in (tmp_path / "markers").iterdir()}
    assert deaths == {serial[1].seed}
    assert attempts == [0 if t.reused_from is not None else 2 if t.seed in deaths else 1 for t in serial]


@slow
def test_a_search_on_two_workers_with_faults_is_the_search_in_process(tmp_path: Path, address: str) -> None:
    factory = Faulty(IN_PROCESS, share=0.2)
    serial = search(tmp_path / "serial", factory, None, 40, batch=BATCH)
    assert search(tmp_path / "ray", factory, address, 40, batch=BATCH) == serial
    assert {str(trial.state) for trial in serial[0]} == {"complete", "stopped", "failed"}


@slow
def test_an_asynchronous_search_ends_every_trial_once(tmp_path: Path, address: str) -> None:
    (tmp_path / "notes").mkdir()
    ended, attempts, state = search(tmp_path / "ray", Slow(tmp_path / "notes", 0.1), address, 12, asynchronous=True)
    assert sorted(trial.id for trial in ended) == list(range(12))
    assert all(trial.evaluation is not None for trial in ended)
    assert attempts == [1 if trial.reused_from is None else 0 for trial in sorted(ended, key=lambda trial: trial.id)]
    assert state["strategy"]["pending"] == []
    assert len(list((tmp_path / "notes").iterdir())) == 2  # processes


def outcomes(factory: EvaluatorFactory, address: str, trials: int = 2, **options: Any) -> dict[int, Any]:
    options = {"workers": 2} | options
    return {t.id: result for t, result in run_trials(executor(factory, address, **options), map(trial, range(trials)))}


@slow
def test_workers_live_as_long_as_the_search_and_run_side_by_side(tmp_path: Path, address: str) -> None:
    found = {result.parameters for result in outcomes(Meeting(tmp_path), address, 8).values()}
    assert len(found) == 2
    assert os.getpid() not in found
    assert left_after(found) == set()


@slow
def test_a_machine_without_the_files_is_handed_their_arrays_and_reads_them_once(tmp_path: Path, address: str) -> None:
    found = outcomes(FarAway(tmp_path / "features.npy"), address, 4)
    assert [result.parameters for result in found.values()] == [499500] * 4
    assert (tmp_path / "read").read_text() == "once\n"


@slow
def test_a_hanging_candidate_is_a_failure_and_the_others_go_on(address: str) -> None:
    found = outcomes(Acting(report_and_hang), address, 3, limit_s=1.0)
    assert [result.kind for result in found.values()] == [FailureKind.TIMEOUT] * 3


@slow
def test_a_candidate_whose_end_came_in_time_is_not_late_because_the_search_was(address: str) -> None:
    def be_suspended(trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
        time.sleep(2.5)

    search = executor(Acting(report_and_end), address, workers=1, limit_s=2.0)
    assert [result for _, result in run_trials(search, [trial(0)], be_suspended)] == [GOOD]


@slow
def test_the_search_pauses_once_for_processes_that_end_together(
    tmp_path: Path, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    slept: list[float] = []

    def sleep(seconds: float) -> None:
        slept.append(seconds)
        original(seconds)

    original = time.sleep
    monkeypatch.setattr(time, "sleep", sleep)
    found = outcomes(DyingTogether(tmp_path), address)
    assert all(isinstance(result, Died) for result in found.values())
    assert (len(found), slept) == (2, [1.0])


@slow
def test_no_trial_is_charged_with_the_end_of_a_process_that_had_nothing_to_do(address: str) -> None:
    processes: list[int] = []
    for _, result in run_trials(executor(Acting(say_process), address, workers=1), map(trial, range(3))):
        assert isinstance(result, Evaluation)
        processes.append(result.parameters)
        os.kill(processes[-1], signal.SIGKILL)
    assert len(set(processes)) == 3


OCCUPY = """
import sys, ray
ray.init(sys.argv[1], log_to_driver=False)

@ray.remote(num_cpus=1)
class Occupant:
    def sit(self): pass

occupant = Occupant.remote()
ray.get(occupant.sit.remote())
print("there", flush=True)
sys.stdin.read()
"""


@slow
def test_a_worker_that_the_cluster_has_no_room_for_is_said_once(
    address: str, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def trials() -> Iterator[Trial]:
        yield trial(0)  # drawn again when a worker has evaluated it: the other worker is not just slow to start
        assert caplog.messages == []
        monkeypatch.setattr("vseg_nas.nas.executors.ray._PATIENCE_S", 0.5)
        until = time.monotonic() + 5
        while time.monotonic() < until:
            yield trial(0)

    monkeypatch.setattr("vseg_nas.nas.executors.ray._PATIENCE_S", 1000)
    command = [sys.executable, "-c", OCCUPY, address]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as occupant:
        assert occupant.stdout is not None
        assert occupant.stdout.readline() == "there\n"
        found = run_trials(executor(Acting(report_and_end), address, workers=2), trials())
        assert {result for _, result in found} == {GOOD}
    assert caplog.messages == [
        "executor=ray: 1 of 2 workers have not started in 0 s; each takes 0 GPUs and 1 CPU cores, "
        "and Ray has 0 of 0 GPUs and 0 of 2 CPU cores free"
    ]


@slow
@pytest.mark.parametrize("at_once", [False, True])
@pytest.mark.parametrize(
    "error", [DataError("masks/1.png: cannot be read"), OSError(errno.ENOSPC, "No space left on device", "file")]
)
def test_what_is_nobodys_fault_ends_the_search_with_its_line(address: str, error: Exception, at_once: bool) -> None:
    with pytest.raises(type(error)) as raised:
        outcomes(Raising(error, at_once), address)
    assert str(raised.value) == str(error)


@slow
def test_an_evaluator_that_cannot_be_built_is_no_candidates_fault(address: str) -> None:
    with pytest.raises(RunError, match=r"cannot be built in its own process: ZeroDivisionError\('by'\)$"):
        outcomes(Raising(ZeroDivisionError("by"), at_once=True), address)
    with pytest.raises(RunError, match=r"^executor=ray: 3 processes ended before their first trial: "):
        outcomes(Dead(), address, workers=1)


@pytest.mark.long
def test_more_workers_than_cores_are_refused(address: str) -> None:
    message = r"^executor.workers: found 3, expected at most 2: Ray has 0 GPUs and 2 CPU cores$"
    with pytest.raises(ConfigError, match=message):
        outcomes(Dead(), address, workers=3)


@slow
@pytest.mark.parametrize("gone", [["gcs_server"], ["gcs_server", "raylet"]])
def test_a_head_that_goes_is_one_line_and_resume_goes_on(tmp_path: Path, gone: list[str]) -> None:
    (tmp_path / "notes").mkdir()
    here, killed = rule(), list[float]()
    factory = Slow(tmp_path / "notes", 0.3)

    class Unplugging(Recorder):
        def on_epoch(self, trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
            if trial.id == 1 and not killed:
                for process in psutil.Process().children(recursive=True):
                    if process.name() in gone:
                        process.kill()
                killed.append(time.monotonic())

    with TrialStore(tmp_path / STORE) as store:
        with ray_nodes(1) as address:
            how = executor(factory, address, here, workers=1)
            with pytest.raises(
                RunError, match=r"^executor=ray: the head of the cluster at .* has gone \(Connection re"
            ):
                search_loop(store, how, here, 40, listeners=[Unplugging()]).run()
            assert time.monotonic() - killed[0] < 20
        ended = sum(trial.state.is_final for trial in store.trials())
        assert 1 <= ended < 40
        assert all(store.attempts(trial) == 0 for trial in store.unfinished())
        here = rule()
        serially = SerialExecutor(Slow(tmp_path / "notes", 0.0)(here, tmp_path))
        found = search_loop(store, serially, here, 40).run()
    assert found == search(tmp_path / "serial", Faulty(share=0), None, 40)[0]


@slow
@pytest.mark.timeout(900)
def test_workers_killed_in_ten_trials_change_nothing(tmp_path: Path, address: str) -> None:
    (tmp_path / "notes").mkdir()
    factory = Slow(tmp_path / "notes", 0.1)
    serial, _, state = search(tmp_path / "serial", factory, None, 24, batch=BATCH)
    (tmp_path / "notes" / f"{os.getpid()}").unlink()
    killed: dict[int, int] = {}

    class Killing(Recorder):
        def on_epoch(self, trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
            if epoch == 1 + trial.id % 3 and trial.id not in killed and len(killed) < 10:
                (note,) = [note for note in (tmp_path / "notes").iterdir() if note.read_text() == f"{trial.seed}"]
                killed[trial.id] = int(note.name)
                os.kill(killed[trial.id], signal.SIGKILL)
                note.unlink()

    found, attempts, found_state = search(tmp_path / "ray", factory, address, 24, batch=BATCH, listeners=[Killing()])
    assert len(set(killed.values())) == 10
    assert (found, found_state) == (serial, state)
    evaluated = sum(trial.reused_from is None for trial in found)
    # a worker may have ended its trial already: its death is then no trial's
    assert evaluated < sum(attempts) <= evaluated + 10


@slow
@pytest.mark.timeout(900)
def test_two_nodes_are_one_search_and_one_of_them_may_go(tmp_path: Path) -> None:
    factory = Faulty(share=0)
    serial = search(tmp_path / "serial", factory, None, 12, batch=BATCH)
    with ray_nodes(1, 1) as address:
        assert search(tmp_path / "ray", factory, address, 12, batch=BATCH) == serial
        (tmp_path / "meeting").mkdir()
        assert len({result.parameters for result in outcomes(Meeting(tmp_path / "meeting"), address, 4).values()}) == 2
        (tmp_path / "notes").mkdir()
        here, gone = rule(), list[psutil.Process]()

        class Unplugging(Recorder):
            def on_trial_start(self, trial: Trial) -> None:
                if trial.id == 6 and not gone:
                    nodes = [p for p in psutil.Process().children() if p.name() == "raylet"]
                    gone.append(nodes[1])
                    nodes[1].kill()

        with TrialStore(tmp_path / STORE) as store:
            how = executor(Slow(tmp_path / "notes", 0.05), address, here, workers=2)
            found = search_loop(store, how, here, 12, batch=BATCH, listeners=[Unplugging()]).run()
        assert gone
        assert found == serial[0]


@contextmanager
def started(folder: Path, mode: str) -> Iterator[subprocess.Popen[str]]:
    arguments = [str(folder), mode]
    with start("tests.nas.started_ray", *arguments, stdout=PIPE, stderr=PIPE, start_new_session=True) as process:
        try:
            yield process
        finally:
            process.kill()


@slow
@pytest.mark.parametrize(
    ("number", "whole_job"),
    [
        (signal.SIGINT, False),
        (signal.SIGINT, True),
        (signal.SIGTERM, True),
        (signal.SIGHUP, True),
        (signal.SIGKILL, False),
    ],
)
def test_no_process_and_no_file_is_left_after_any_end(tmp_path: Path, number: int, whole_job: bool) -> None:
    with started(tmp_path, "hang") as search:
        assert search.stdout is not None
        search.stdout.readline()
        children = json.loads(search.stdout.readline())  # of the second candidate: both are there
        assert len(children) > 4
        commands = " ".join(word for child in children if is_alive(child) for word in psutil.Process(child).cmdline())
        (folder,) = set(re.findall(rf"{tempfile.gettempdir()}/vr-\w+", commands))
        sent = time.monotonic()
        (os.killpg if whole_job else os.kill)(search.pid, number)
        _, errors = search.communicate(timeout=20)
        assert time.monotonic() - sent < 10
        if number == signal.SIGKILL:  # nobody is left to end Ray's two agents, which take a minute to notice
            assert len(left_after(children)) <= 2
        assert left_after(children, 120 if number == signal.SIGKILL else 5) == set()
    if number == signal.SIGKILL:
        assert search.returncode == -signal.SIGKILL
        assert Path(folder).exists()
        with scratch("vr-"):  # as the next search does
            assert not Path(folder).exists()
    else:
        assert errors.strip().splitlines()[-1].split(":")[0].rpartition(".")[2] in ("KeyboardInterrupt", "Terminated")
        assert not Path(folder).exists()


@slow
def test_the_folder_of_a_worker_that_was_ended_goes_when_the_next_one_starts(tmp_path: Path, address: str) -> None:
    found = outcomes(NotingItsFolder(tmp_path), address, 2, workers=1, limit_s=1.0)
    assert [result.kind for result in found.values()] == [FailureKind.TIMEOUT] * 2
    folders = [Path((tmp_path / f"{trial(id_).seed}").read_text()) for id_ in range(2)]
    assert len(set(folders)) == 2
    assert [folder.exists() for folder in folders] == [False, False]  # a third worker has started to see what is next


@slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("mode", ["batch", "async"])
def test_killed_and_continued_loses_nothing(tmp_path: Path, mode: str) -> None:
    (tmp_path / "notes").mkdir()
    (tmp_path / "serial").mkdir()
    here = rule()
    with TrialStore(tmp_path / "serial" / STORE) as store:
        how = SerialExecutor(Slow(tmp_path / "serial", 0.0)(here, tmp_path))
        expected = search_loop(store, how, here, 24, batch=BATCH).run()
        _, state = standing(store)
    for ended in (4, 11, 17):
        with started(tmp_path, mode) as search:
            while number_of_ended(tmp_path) < ended:
                assert search.poll() is None
                time.sleep(0.05)
            search.kill()
    with started(tmp_path, mode) as search:
        _, errors = search.communicate()
        assert (search.returncode, errors) == (0, "")
    with TrialStore(tmp_path / STORE) as store:
        trials = store.trials()
        _, found = standing(store)
    assert [trial.id for trial in trials] == list(range(24))
    assert all(trial.evaluation is not None for trial in trials)
    assert found["strategy"]["pending"] == []
    if mode == "batch":
        assert (trials, found) == (expected, state)


def number_of_ended(folder: Path) -> int:
    if not (folder / STORE).exists() or not (folder / STORE).stat().st_size:
        return 0
    with suppress(RunError), TrialStore.read(folder / STORE) as store:
        return len(store.trials()) - len(store.unfinished())
    return 0


@slow
@pytest.mark.timeout(900)
def test_the_command_finds_the_same_on_ray(tmp_path: Path) -> None:
    runs = tmp_path / "runs/search/synthetic"
    command = [sys.executable, "-m", "vseg_nas.search", *TINY, "phase.search.batch=2"]
    columns = "id, genotype, seed, state, score, miou, fwiou, macc, epochs, stopped, failure, reason, attempts"
    histories = []
    for how in (["executor=serial"], ["executor=ray", "executor.workers=2"], ["gpu.devices=2"]):
        name = how[0].partition("=")[2]
        done = subprocess.run(
            [*command, *how, f"name={name}"], cwd=tmp_path, capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        with sqlite3.connect(runs / name / STORE) as connection:
            histories.append(connection.execute(f"SELECT {columns} FROM trials ORDER BY id").fetchall())
    assert histories[0] == histories[1] == histories[2]
    for number, status in ((signal.SIGINT, 130), (signal.SIGTERM, 143)):
        name = f"cut{status}"
        cut = subprocess.Popen(
            [*command, "executor=ray", "phase.search.trials=400", f"name={name}"],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        while number_of_ended(runs / name) < 3:
            assert cut.poll() is None
            time.sleep(0.05)
        children = [child.pid for child in psutil.Process(cut.pid).children(recursive=True)]
        cut.send_signal(number)
        _, errors = cut.communicate(timeout=20)
        assert cut.returncode == status
        assert errors.count("\n") == 1
        assert left_after(children) == set()
