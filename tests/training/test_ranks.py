"""Processes that train together: what they say arrives, and no failure, death or Ctrl-C leaves one behind."""

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from tests.processes import PIPE, left_after, start, wait_until
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
    texts: list[list[str]] = []

    def all_there() -> bool:
        texts[:] = [file.read_text().split() for file in folder.iterdir() if file.name.isdecimal()]
        return len(texts) == ranks and all(len(text) == 2 for text in texts)

    wait_until(all_there, seconds=60)
    return [int(number) for text in texts for number in text]


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
    assert left_after(written(tmp_path), seconds=2) == set()


def test_an_error_here_ends_all(tmp_path: Path) -> None:
    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        on_ranks(2, stop, counting, 1)
    assert not [child for child in psutil.Process().children() if "spawn_main" in " ".join(child.cmdline())]


@pytest.fixture
def hanging(tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """A command that waits for two hanging ranks, in a process group of its own, as a terminal starts it."""
    process = start("tests.training.rank_targets", str(tmp_path), stderr=PIPE, start_new_session=True)
    yield process
    process.kill()
    process.communicate()


@pytest.mark.long
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL, signal.SIGTERM])
def test_none_outlives_its_parent(hanging: subprocess.Popen[str], tmp_path: Path, number: signal.Signals) -> None:
    pids = written(tmp_path)
    os.killpg(hanging.pid, number)
    _, errors = hanging.communicate(timeout=10)
    assert hanging.returncode == (130 if number == signal.SIGINT else -number)
    assert left_after(pids, seconds=3) == set()
    assert errors == ""  # the ranks say nothing
