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

from tests.builders import evaluation_of_one_row, record, save_network, scored, store_trials, video_spec, write_camvid
from tests.reliability.generated_cases import BASE, ODD, Case
from vseg_nas.data.synthetic import CLASSES
from vseg_nas.models.static import StaticSegmenter
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
    save_network(world / "net.safetensors", video_spec(classes=CLASSES, size=(48, 64)))
    (world / "cell.json").write_text(HAND_WRITTEN["local_filters"].to_json())
    write_camvid(world / "camvid")
    _make_runs(world)


def _make_runs(world: Path) -> None:
    for name, verb in (("search", "search"), ("evaluated", "evaluate"), ("timed", "benchmark")):
        record(world / name, verb, *BASE[verb], f"name={name}")
    space = SearchSpace(4)
    cells = [space.genotype([0, number, 0, 0, 0] * 4) for number in (1, 2)]
    store_trials(world / "search", [scored(cell, 0.5, id_) for id_, cell in enumerate(cells)])
    (world / "evaluated" / "evaluate.json").write_text(json.dumps(evaluation_of_one_row()))
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
        "vseg_nas.assembly.latency_rows.Benchmark.row",
        "vseg_nas.predict._predict",
        "vseg_nas.assembly.graph_export.graph_pair",
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
