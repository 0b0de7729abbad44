"""The full forms of tests/nas/test_isolated.py, and isolation on the command line."""

import sqlite3
import subprocess
from pathlib import Path

import pytest

from tests.builders import TINY
from tests.fixtures import Figure
from tests.nas.isolated_search import check_ends, check_faults
from tests.processes import run
from vseg_nas.nas.store import STORE

pytestmark = pytest.mark.slow


@pytest.mark.timeout(900)
def test_300_candidates_of_which_every_third_has_a_fault(tmp_path: Path, figure: Figure) -> None:
    check_faults(tmp_path, trials=300, share=0.3)
    figure("G5", "300 candidates, 30 % with a fault of eleven kinds: every kind right, the search goes on")


@pytest.mark.timeout(900)
def test_20_searches_killed_in_the_middle_of_a_trial_leave_no_process(tmp_path: Path, figure: Figure) -> None:
    for i in range(5):
        (tmp_path / str(i)).mkdir()
        check_ends(tmp_path / str(i), searches=5)  # four by SIGKILL, one by Ctrl-C
    figure("G15", "20 parents killed and 5 interrupted in the middle of a trial, no process left after 5 s")


def search(folder: Path, *overrides: str) -> subprocess.CompletedProcess[str]:
    return run("vseg_nas.search", *TINY, "phase.search.trials=6", *overrides, cwd=folder)


@pytest.mark.timeout(600)
def test_the_command_finds_the_same_with_either_executor(tmp_path: Path) -> None:
    runs = tmp_path / "runs/search/synthetic"
    columns = "id, genotype, seed, state, score, miou, fwiou, macc, epochs, stopped, failure, reason, attempts"
    histories = []
    for executor in ("serial", "isolated"):
        done = search(tmp_path, f"executor={executor}", f"name={executor}")
        assert (done.returncode, done.stderr) == (0, "")
        with sqlite3.connect(runs / executor / STORE) as connection:
            histories.append(connection.execute(f"SELECT {columns} FROM trials ORDER BY id").fetchall())
    assert histories[0] == histories[1]
    assert len(histories[0]) == 6
    assert sorted(path.name for path in (runs / "isolated").iterdir() if path.name.startswith("worker")) == []
    done = search(tmp_path, "executor=isolated", "executor.memory_gib=0.01", "name=small")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert done.stderr.startswith("error: executor.memory_gib: found 0.01, expected more than")
