"""A run directory has one writer: of two commands started at once one wins, and the other harms nothing."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from tests.fixtures import Figure
from tests.processes import PIPE, start, wait_until
from vseg_nas.runs.lock import RunLock

# A command of our own kind that only holds its run for a while; nothing of torch.
SCRIPT = """
import sys, time
from vseg_nas.cli.command import command
from vseg_nas.schema import ReportConfig

@command("report", ReportConfig)
def main(config, run_dir):
    (run_dir / "winner").write_text("here")
    time.sleep(float(sys.stdin.readline() or 0))

main()
"""


def one_has_ended(processes: Sequence[subprocess.Popen[str]]) -> bool:
    return any(process.poll() is not None for process in processes)


def holder(folder: Path, name: str) -> subprocess.Popen[str]:
    return start(SCRIPT, "run=.", name, cwd=folder, stdin=PIPE, stdout=PIPE, stderr=PIPE)


@pytest.mark.long
@pytest.mark.parametrize(
    "times", [3, pytest.param(50, marks=[pytest.mark.slow, pytest.mark.timeout(600)])], ids=["some", "all"]
)
def test_double_starts(tmp_path: Path, times: int, figure: Figure) -> None:
    for attempt in range(times):
        both = [holder(tmp_path, f"name=r{attempt}") for _ in range(2)]
        run = tmp_path / f"runs/report/r{attempt}"
        wait_until(partial(one_has_ended, both))
        loser, winner = sorted(both, key=lambda process: process.poll() is None)
        assert loser.returncode == 2
        line = loser.stderr.read() if loser.stderr else ""
        assert line.startswith("error: ")
        assert f"runs/report/r{attempt}: " in line
        assert "in use by " in line or "holds a run already" in line
        wait_until((run / "winner").is_file, winner)
        assert json.loads((run / "overrides.json").read_text()) == ["run=.", f"name=r{attempt}"]
        winner.communicate("0\n")
        assert winner.returncode == 0
    figure("G12", f"{times} double starts, one winner each")


def test_resuming_a_run_in_use_is_refused_before_anything_is_composed(tmp_path: Path) -> None:
    run = tmp_path / "r"
    run.mkdir()
    (run / "overrides.json").write_text("[]")
    with RunLock(run):
        started = time.monotonic()
        done = subprocess.run(
            [sys.executable, "-X", "importtime", "-m", "vseg_nas.search", "resume=r"],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            check=False,
        )
        seconds = time.monotonic() - started
    assert done.returncode == 2
    last = done.stderr.splitlines()[-1]
    assert last.startswith(f"error: r: in use by process {os.getpid()} on ")
    assert not any(line.endswith((" torch", " pytorch_lightning")) for line in done.stderr.splitlines())
    assert seconds < 5  # a second on a quiet machine


@pytest.mark.long
def test_a_killed_holder_holds_nothing(tmp_path: Path) -> None:
    for _ in range(3):
        process = holder(tmp_path, "name=k")
        run = tmp_path / "runs/report/k"
        wait_until((run / "winner").is_file, process)
        process.kill()
        process.wait()
        with RunLock(run):
            pass
        for path in run.iterdir():
            path.unlink()
