"""The folder in which generated cases happen, and how one is run: everything but the computing itself is real."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from importlib import import_module
from io import StringIO
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import pytest
from PIL import Image

from tests.reliability.generated_cases import BASE, ODD, Case
from tests.sealed import seal
from vseg_nas.config import conf_dir
from vseg_nas.data.synthetic import CLASSES, PALETTE
from vseg_nas.models.segmenter_file import SegmenterSpec, save_segmenter
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.nas.store import STORE, TrialStore
from vseg_nas.nas.trial import Evaluation, Trial, TrialState
from vseg_nas.normalisation import IMAGENET_MEAN, IMAGENET_STD
from vseg_nas.space import SearchSpace
from vseg_nas.space.hand_written import HAND_WRITTEN

LIMIT_S = 60.0
LONGEST = 400
ACCEPTED = -1


class Accepted(BaseException):
    """The command has come to its computing."""


class TooSlow(BaseException):
    """The command has not come anywhere."""


class Ended(NamedTuple):
    """How a command ended."""

    status: int
    out: str
    err: str


def make_world(world: Path) -> None:
    """Things of every kind that commands read, all of them right."""
    (world / "frames").mkdir(parents=True)
    for number in (1, 2):
        Image.new("RGB", (64, 48), (number, 0, 0)).save(world / "frames" / f"{number}.png")
    StaticSegmenter(CLASSES).save(world / "static.safetensors")
    cell = HAND_WRITTEN["local_filters"]
    spec = SegmenterSpec("m", 0, "r", CLASSES, PALETTE, cell, "previous", False, IMAGENET_MEAN, IMAGENET_STD, (48, 64))
    save_segmenter(spec.build(), spec, world / "net.safetensors")
    (world / "cell.json").write_text(cell.to_json())
    for split, video in (("train", "0001TP"), ("val", "0016E5"), ("test", "0006R0")):
        names = [f"{video}_{number:06}.png" for number in (30, 60, 90)]
        for folder, mode in ((split, "RGB"), (f"{split}annot", "L")):
            (world / "camvid" / folder).mkdir(parents=True)
            for name in names:
                Image.new(mode, (64, 48)).save(world / "camvid" / folder / name)
        (world / "camvid" / f"{split}.txt").write_text("".join(f"{name}\n" for name in names))
    _make_runs(world)


def _make_runs(world: Path) -> None:
    from hydra import compose, initialize_config_dir
    from omegaconf import OmegaConf

    for name, verb in (("search", "search"), ("evaluated", "evaluate"), ("timed", "benchmark")):
        (world / name).mkdir()
        overrides = [*BASE[verb], f"name={name}"]
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            OmegaConf.save(compose(verb, overrides), world / name / "config.yaml", resolve=True)
        (world / name / "overrides.json").write_text(json.dumps(overrides))
        seal(world / name)
    space = SearchSpace(4)
    with TrialStore(world / "search" / STORE) as store:
        for number in (1, 2):
            genotype = space.genotype([0, number, 0, 0, 0] * 4)
            found = Evaluation(0.5, 0.5, 0.5, 0.5, 1, 1, 1.0, 1, False)
            store.add([Trial(number, genotype, 0, TrialState.COMPLETE, found)], b"")
    scores = {"miou": 0.5, "fwiou": 0.5, "macc": 0.5, "score": 0.5, "iou_per_class": [0.5, 0.5]}
    row = {
        "name": "static per frame", "group": "static per frame", "seed": None, "recipe": None, "trained_with": None,
        "checkpoint": None, "genotype": None, "expression": "", "past": None, "flow": None, "parameters": 1,
        "cell_parameters": 0, "macs": 1, "pair": scores, "rolling": {}, "consistency": {},
    }  # fmt: skip
    evaluation = {
        "format": "vseg_nas.evaluation/2", "dataset": "camvid", "split": "val", "size": [4, 4], "classes": ["a", "b"],
        "consistency_key_every": 5, "rolling_refused": None, "command": "c", "machine": "m", "date": "d",
        "seconds": 1.0, "rows": [row], "truth_consistency": {}, "panels": [],
    }  # fmt: skip
    (world / "evaluated" / "evaluate.json").write_text(json.dumps(evaluation))
    timed = {
        "name": "arch2", "genotype": None, "expression": "", "past": None, "flow": None, "parameters": 1,
        "macs_static": 1, "macs_dynamic": None, "static_ms": {"median": 1.0, "low": 1.0, "high": 1.0},
        "dynamic_ms": None, "average_ms": None, "peak_mib": 1.0,
    }  # fmt: skip
    timing = {
        "format": "vseg_nas.benchmark/1", "device": "cpu", "precision": "fp32", "size": [64, 64], "classes": 19,
        "repeats": 1, "command": "c", "date": "d", "rows": [timed],
    }  # fmt: skip
    (world / "timed" / "benchmark.json").write_text(json.dumps(timing))


def stop_before_computing(patch: pytest.MonkeyPatch) -> None:
    """Puts an end to commands where they would begin to train, measure or export."""

    def accept(*args: object, **options: object) -> None:
        raise Accepted

    for place in (
        "vseg_nas.training.fitting.pl.Trainer",
        "vseg_nas.training.features.write_cache",
        "vseg_nas.evaluate._measure",
        "vseg_nas.assembly.benchmark.Benchmark.row",
        "vseg_nas.predict._predict",
        "vseg_nas.assembly.export.graph_pair",
    ):
        module, _, name = place.rpartition(".")
        patch.setattr(_found(module), name, accept)


def _found(path: str) -> Any:
    """A module, or a class or module that is an attribute of one."""
    try:
        return import_module(path)
    except ModuleNotFoundError:
        parent, _, name = path.rpartition(".")
        return getattr(_found(parent), name)


def contents(world: Path) -> dict[str, tuple[int, int, int]]:
    """Everything in and beside a folder, with what would tell a change."""
    found = {}
    for folder, folders, files in os.walk(world.parents[1]):
        # Locks of folders of weights, and digests that are known of data, are left by commands that are refused, too.
        for name in {*folders, *files} - {"lock", "digests.json", "runs", "cache"}:
            path = os.path.join(folder, name)
            status = os.lstat(path)
            changed = 0 if name in folders else status.st_mtime_ns
            found[path] = status.st_mode, 0 if name in folders else status.st_size, changed
    return found


def run_case(case: Case, world: Path, patch: pytest.MonkeyPatch) -> Ended:
    """Runs one here, or in a process of its own where its variables are read before any of our code."""
    if case.environment:
        return _in_process_of_its_own(case, world)
    patch.chdir(world)
    patch.setattr(sys, "argv", [f"vseg-nas-{case.verb}", *case.arguments])
    out, err = StringIO(), StringIO()
    try:
        with _limited(), redirect_stdout(out), redirect_stderr(err):
            import_module(f"vseg_nas.{case.verb}").main()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0
    except Accepted:
        status = ACCEPTED
    return Ended(status, out.getvalue(), err.getvalue())


def _in_process_of_its_own(case: Case, world: Path) -> Ended:
    command = [sys.executable, "-m", f"vseg_nas.{case.verb}", *case.arguments]
    environment = {**os.environ, **case.environment}
    done = subprocess.run(command, cwd=world, env=environment, capture_output=True, timeout=LIMIT_S, check=False)
    return Ended(done.returncode, done.stdout.decode(errors="replace"), done.stderr.decode(errors="replace"))


@contextmanager
def _limited() -> Iterator[None]:
    """Raises `TooSlow` where a command waits for what never comes; the timer of pytest goes on afterwards."""

    def late(number: int, frame: FrameType | None) -> None:
        raise TooSlow(f"no end after {LIMIT_S:g} s")

    handler, (left, interval) = signal.signal(signal.SIGALRM, late), signal.setitimer(signal.ITIMER_REAL, LIMIT_S)
    started = time.monotonic()
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler)
        if left:
            signal.setitimer(signal.ITIMER_REAL, max(0.1, left - (time.monotonic() - started)), interval)


def tidy(world: Path, before: dict[str, tuple[int, int, int]]) -> None:
    """Removes what is new."""
    shutil.rmtree(world / ODD, ignore_errors=True)
    for path in sorted(contents(world).keys() - before.keys()):
        if os.path.isdir(path) and not os.path.islink(path):
            shutil.rmtree(path)
        elif os.path.lexists(path):
            os.unlink(path)
