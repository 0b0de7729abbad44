"""The whole search as a user runs it: killed, continued, swept, interrupted, on tiny synthetic clips."""

import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from tests import processes
from tests.builders import TINY, history
from tests.processes import wait_until
from vseg_nas.errors import RunError
from vseg_nas.nas.store import STORE, TrialStore
from vseg_nas.nas.trial import TrialState


def start(cwd: Path, *overrides: str) -> subprocess.Popen[str]:
    """A search in its own process, with its output in a file beside the runs."""
    with (cwd / "output").open("a") as log:
        return processes.start("vseg_nas.search", *overrides, cwd=cwd, stdout=log, stderr=subprocess.STDOUT)


def finish(process: subprocess.Popen[str], cwd: Path, seconds: float = 200) -> None:
    assert process.wait(timeout=seconds) == 0, (cwd / "output").read_text()[-3000:]


def ended(run: Path) -> int:
    """How many trials of a run have ended; readable while the run goes on."""
    try:
        return sum(trial.state.is_final for trial in TrialStore.read(run / STORE).trials())
    except RunError:  # not made yet
        return 0


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished search ``runs/search/synthetic/whole``, started as users do."""
    cwd = tmp_path_factory.mktemp("search")
    command = [sys.executable, "-m", "vseg_nas.search", *TINY, "name=whole"]
    with (cwd / "output").open("a") as log:
        finish(subprocess.Popen(command, cwd=cwd, stdout=log, stderr=subprocess.STDOUT, text=True), cwd)
    return cwd


@pytest.mark.long
def test_a_search_leaves_trials_pictures_and_a_table(uninterrupted: Path) -> None:
    run = uninterrupted / "runs/search/synthetic/whole"
    trials = TrialStore.read(run / STORE).trials()
    assert len(trials) == 4
    assert {trial.state for trial in trials} <= {TrialState.COMPLETE, TrialState.STOPPED}
    assert all(trial.evaluation is not None and 0 < trial.evaluation.score < 1 for trial in trials)
    for name in ("reward.png", "shares.png", "best_cell.png", "best_cell.svg", "trials.csv", "best_cells.md"):
        assert (run / "report" / name).stat().st_size > 0
    output = (uninterrupted / "output").read_text()
    assert "python -m vseg_nas.compare run=" in output
    assert "Warning" not in output


@pytest.mark.long
def test_killed_and_continued_it_is_the_same_search(uninterrupted: Path) -> None:
    run = uninterrupted / "runs/search/synthetic/killed"
    process = start(uninterrupted, *TINY, "name=killed")
    wait_until(lambda: ended(run) >= 1, process)
    time.sleep(0.3)  # into the second trial
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    before = history(run)
    done = [row for row in before if isinstance(row[3], TrialState) and row[3].is_final]
    assert 1 <= len(done) < 4
    finish(start(uninterrupted, f"resume={run}"), uninterrupted)
    after = history(run)
    assert after == history(uninterrupted / "runs/search/synthetic/whole")
    assert after[: len(done)] == done
    with sqlite3.connect(run / STORE) as connection:
        (seconds,) = connection.execute("SELECT count(*) FROM trials WHERE seconds > 0").fetchone()
    assert seconds == 4


@pytest.mark.long
def test_the_second_search_computes_no_features(uninterrupted: Path) -> None:
    caches = list((uninterrupted / "runs/cache").iterdir())
    output = (uninterrupted / "output").read_text()
    assert len(caches) == 2  # meta-train and meta-val
    assert output.count("caching features:") == 4  # a first and a last line for each, in the first search only
    assert all(json.loads((cache / "manifest.json").read_text())["sha256"] for cache in caches)


@pytest.mark.slow
def test_ctrl_c_stops_with_130_and_the_run_can_go_on(uninterrupted: Path) -> None:
    run = uninterrupted / "runs/search/synthetic/stopped"
    process = start(uninterrupted, *TINY, "name=stopped")
    wait_until(lambda: ended(run) >= 1, process)
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=60) == 130
    assert (run / "report" / "reward.png").is_file()
    finish(start(uninterrupted, f"resume={run}"), uninterrupted)
    assert history(run) == history(uninterrupted / "runs/search/synthetic/whole")


@pytest.mark.slow
def test_a_sweep_is_one_run_a_seed(uninterrupted: Path) -> None:
    finish(start(uninterrupted, "--multirun", *TINY, "phase.search.trials=1", "seed=1,2"), uninterrupted)
    runs = sorted(uninterrupted.glob("runs/search/synthetic/multirun-*/[01]"))
    assert len(runs) == 2
    assert history(runs[0]) != history(runs[1])


def make_cityscapes(root: Path) -> None:
    """Three sequences a split in the official layout: labelled frame 19, its predecessor, labelIds."""
    rng = np.random.default_rng(0)
    for split, city in (("train", "aachen"), ("val", "frankfurt")):
        for sequence in range(3):
            name = f"{city}_{sequence:06}"
            for folder, frame in (("leftImg8bit", 19), ("leftImg8bit_sequence", 18)):
                path = root / folder / split / city / f"{name}_{frame:06}_leftImg8bit.png"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(rng.integers(0, 256, (64, 128, 3), dtype=np.uint8)).save(path)
            path = root / "gtFine" / split / city / f"{name}_000019_gtFine_labelIds.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(rng.integers(0, 34, (64, 128), dtype=np.uint8)).save(path)


@pytest.mark.slow
def test_cityscapes_from_files_to_trials(tmp_path: Path) -> None:
    make_cityscapes(tmp_path / "data")
    data = ["dataset=cityscapes", "dataset.root=data", "gpu=cpu", "gpu.threads=1"]
    pretrain = ["phase.pretrain.epochs=1", "phase.pretrain.batch_size=2", "phase.pretrain.transform.crop=[64,64]"]
    search = ["phase.search.epochs=2", "phase.search.trials=1", "phase.search.val_size=[32,64]"]
    search += ["phase.search.transform.crop=[32,32]", "name=tiny", "logger=none", "pruner=none"]
    done = processes.run("vseg_nas.pretrain", *data, *pretrain, "static.encoder_weights=null", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    finish(start(tmp_path, *data, *search), tmp_path)
    (trial,) = TrialStore.read(tmp_path / "runs/search/cityscapes/tiny" / STORE).trials()
    assert trial.state is TrialState.COMPLETE
    assert len(trial.genotype.layers) == 4
