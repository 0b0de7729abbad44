"""Processes that train together: what they say arrives, and no failure, death or Ctrl-C leaves one behind."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.training.rank_targets import counting, failing
from vseg_nas.errors import DataError, RunError
from vseg_nas.training.ranks import Rank, on_ranks


def test_results_and_reports_are_those_of_the_first() -> None:
    seen: list[tuple[int, int, dict[str, float]]] = []
    result, rank = on_ranks(3, lambda *report: seen.append(report), counting, 7)
    assert result == 7
    assert rank == Rank(0, 3, rank.port)
    assert rank.port > 1023
    assert seen == [(1, 2, {"rank": 0.0}), (2, 2, {"rank": 0.0})]


def written(folder: Path, ranks: int = 2) -> list[int]:
    """Process ids of ranks and of their loader processes, as soon as all have written theirs."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        texts = [file.read_text().split() for file in folder.iterdir() if file.name.isdecimal()]
        if len(texts) == ranks and all(len(text) == 2 for text in texts):
            return [int(number) for text in texts for number in text]
        time.sleep(0.02)
    raise AssertionError("the ranks did not start")


def gone(pids: list[int], within: float) -> bool:
    """Whether all of these end soon; a zombie, which waits for its parent to look, has ended."""
    until = time.monotonic() + within
    while time.monotonic() < until:
        left = [pid for pid in pids if psutil.pid_exists(pid)]
        if all(psutil.Process(pid).status() == psutil.STATUS_ZOMBIE for pid in left if psutil.pid_exists(pid)):
            return True
        time.sleep(0.02)
    return False


FAILURES = {
    "killed": (RunError, r"^gpu.devices: process 2 of 2 ended by SIGKILL, perhaps for want of memory; resume= cont"),
    "exit": (RunError, r"^gpu.devices: process 2 of 2 ended with status 3"),
    "user": (DataError, r"^frame.png: damaged$"),
    "bug": (RuntimeError, r"(?s)^Traceback .* in failing.*ZeroDivisionError: a bug"),
    "consequence": (RunError, r"^gpu.devices: process 1 of 2 ended by SIGKILL"),
}


@pytest.mark.parametrize("kind", FAILURES)
def test_a_failure_ends_all(tmp_path: Path, kind: str) -> None:
    error, message = FAILURES[kind]
    with pytest.raises(error, match=message):
        on_ranks(2, lambda *_: None, failing, kind, tmp_path)
    assert gone(written(tmp_path), within=2)


def test_an_error_here_ends_all(tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        on_ranks(2, stop, counting, 1)
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A command that waits for two hanging ranks, in a process group of its own, as a terminal starts it."""
    root = Path(__file__).parents[2]
    command = [sys.executable, "-m", "tests.training.rank_targets", str(tmp_path)]
    process = subprocess.Popen(command, cwd=root, stderr=subprocess.PIPE, text=True, start_new_session=True)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_none_outlives_its_parent(hanging: subprocess.Popen[str], tmp_path: Path, number: signal.Signals) -> None:
    pids = written(tmp_path)
    os.killpg(hanging.pid, number)
    _, errors = hanging.communicate(timeout=10)
    assert hanging.returncode == (130 if number == signal.SIGINT else -number)
    assert gone(pids, within=3)
    assert errors == ""  # the ranks say nothing
