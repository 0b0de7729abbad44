"""Fixtures of several packages: trials, and directories of runs with results in them."""

import json
import math
import random
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.builders import seal, store_trials
from tests.fixtures import Json, MakeTrials, WriteRun, WriteSearch
from vseg_nas.nas.trial import Evaluation, Trial, TrialState
from vseg_nas.space import Genotype, Layer, SearchSpace


def _evaluation(rng: random.Random, index: int) -> Evaluation:
    miou = 0.3 + 0.2 * (1 - math.exp(-index / 25)) + rng.gauss(0, 0.03)
    fwiou, macc = miou * 1.4, miou * 1.2
    score = (miou * fwiou * macc) ** (1 / 3)
    stopped = rng.random() < 0.2
    epochs = 5 if stopped else 10
    sizes = rng.randrange(40_000, 400_000), rng.randrange(10**8, 2 * 10**9)
    return Evaluation(score, miou, fwiou, macc, *sizes, rng.uniform(4, 14), epochs, stopped)


@pytest.fixture
def make_trials() -> MakeTrials:
    """Ended trials of a search of 5 layers: every 8th fails, every 7th reuses the first one."""

    def make(count: int) -> list[Trial]:
        rng, space, trials = random.Random(0), SearchSpace(5), list[Trial]()
        for i in range(count):
            trial = Trial(i, space.sample(rng), rng.randrange(2**31), TrialState.RUNNING)
            if i % 8 == 7:
                trials.append(trial.failed("NonFiniteError: the loss is nan\nin epoch 3"))
            elif i % 7 == 6:
                reused = Trial(i, trials[0].genotype, trial.seed, TrialState.RUNNING).reusing(trials[0])
                trials.append(reused)
            else:
                trials.append(trial.completed(_evaluation(rng, i)))
        return trials

    return make


CELL = Genotype((Layer(1, 2, 0, 5, 1), Layer(5, 1, 2, 2, 5)))
CLASSES = ["sky", "road", "sign_symbol"]


def _scores(miou: float) -> Json:
    return {"miou": miou, "fwiou": miou, "macc": miou, "score": miou, "iou_per_class": [miou, miou / 2, None]}


def _rolling(miou: float, distances: Sequence[int]) -> Json:
    by_distance = [{"distance": d, "frames": 4, "miou": miou - 0.01 * d} for d in distances]
    mious = [at["miou"] for at in by_distance]
    return {
        **_scores(miou),
        "by_distance": by_distance,
        "average": sum(mious) / len(mious),
        "minimum": min(mious),
    }


def _row(name: str, group: str, seed: int | None, miou: float, cell: Genotype | None) -> Json:
    distances = {"1": [0], "2": range(2), "5": range(5), "never": [*range(9), 9, 17]}
    return {
        "name": name,
        "group": group,
        "seed": seed,
        "recipe": None if seed is None else "r1",
        "trained_with": None if seed is None else "cell r1",
        "checkpoint": None if seed is None else f"runs/train/{name}/video.safetensors",
        "genotype": cell.to_dict() if cell else None,
        "expression": cell.expression() if cell else "",
        "past": "previous" if cell else None,
        "flow": False if cell else None,
        "parameters": 2_847_371 + (300_000 if cell else 0),
        "cell_parameters": 300_000 if cell else 0,
        "macs": 9_120_000_000 if cell else 26_900_000_000,
        "pair": _scores(miou),
        "rolling": {key: _rolling(miou, [0] if name == "static per frame" else ds) for key, ds in distances.items()},
        "consistency": {
            "vc8": {"correct": miou, "reference": miou, "windows": 7, "flow": None},
            "tc": {"refused": "frames are 1 s apart"},
        },
    }


@pytest.fixture
def evaluation_data() -> Json:
    """The content of an evaluate.json on CamVid val: the static network, copying, two trainings of a cell."""
    return {
        "format": "vseg_nas.evaluation/2",
        "dataset": "camvid",
        "split": "val",
        "size": [360, 480],
        "classes": CLASSES,
        "consistency_key_every": 5,
        "rolling_skip_reason": None,
        "command": "python -m vseg_nas.evaluate name=first",
        "machine": "a machine",
        "date": "2026-11-22",
        "seconds": 12.5,
        "rows": [
            _row("static per frame", "static per frame", None, 0.5, None),
            _row("previous labels copied", "previous labels copied", None, 0.4, None),
            _row("one", "best cell", 1, 0.51, CELL),
            _row("two", "best cell", 2, 0.54, CELL),
        ],
        "truth_consistency": {
            "vc8": {"correct": 1.0, "reference": 1.0, "windows": 7, "flow": None},
            "tc": {"refused": "frames are 1 s apart"},
        },
        "panels": [],
    }


@pytest.fixture
def tuned_data(evaluation_data: Json) -> Json:
    """The same with two trainings of the static network."""
    pairs = [("one", 1, 0.6), ("two", 2, 0.62)]
    groups = {"static per frame, fine-tuned": 0, "previous labels copied, fine-tuned": -0.2}
    for group, less in groups.items():
        evaluation_data["rows"] += [_row(name, group, seed, miou + less, None) for name, seed, miou in pairs]
    return evaluation_data


@pytest.fixture
def benchmark_data() -> Json:
    """The content of a benchmark.json: arch2 and the cell of `evaluation_data`."""

    def time(median: float) -> Json:
        return {"median": median, "low": median - 1, "high": median + 2}

    row = {
        "name": "timed under another name",
        "genotype": CELL.to_dict(),
        "expression": CELL.expression(),
        "past": "previous",
        "flow": False,
        "parameters": 3_147_371,
        "macs_static": 26_900_000_000,
        "macs_dynamic": 9_123_456_789,
        "static_ms": time(92.0),
        "dynamic_ms": time(30.0),
        "average_ms": {"2": time(61.0), "5": time(42.4), "10": time(36.2), "unlimited": time(30.0)},
        "peak_mib": 700.5,
    }
    no_cell = {"genotype": None, "expression": "", "past": None, "flow": None, "macs_dynamic": None}
    arch2 = {"name": "arch2", "parameters": 2_847_371, "static_ms": time(92.0), **no_cell}
    return {
        "format": "vseg_nas.benchmark/1",
        "device": "cpu: a processor",
        "precision": "fp32",
        "size": [1024, 2048],
        "classes": 19,
        "repeats": 20,
        "command": "python -m vseg_nas.benchmark name=cpu",
        "date": "2026-11-22",
        "rows": [row | arch2 | {"dynamic_ms": None, "average_ms": None}, row],
    }


@pytest.fixture
def other_results(evaluation_data: Json) -> dict[str, Json]:
    """The contents of the files that train, compare, check and predict leave, by their names."""
    cell = {key: evaluation_data["rows"][2][key] for key in ("genotype", "expression", "past", "flow")}
    no_cell = {"genotype": None, "expression": "", "past": None, "flow": None}
    made = {"command": "python -m vseg_nas name=made", "date": "2026-11-28"}
    rows = [no_cell | {"name": "static network per frame", "seed": None, "parameters": 0, "val": _scores(0.5)}]
    for name, miou in (("best cell", 0.6), ("random cell", 0.4), ("random cell", 0.5), ("random cell", 0.7)):
        rows.append(cell | {"name": name, "seed": 1, "parameters": 300_000, "val": _scores(miou)})
    training = {
        "format": "vseg_nas.train/1", "dataset": "camvid", "classes": CLASSES, "group": "first:1", "recipe": "r1",
        "seed": 3, "parameters": 3_147_371, "checkpoint": "video.safetensors", "val": _scores(0.625),
        "machine": "a machine", "seconds": 75.0,
    }  # fmt: skip
    split = {
        "frames": 3, "masks": 3, "seconds_between_frames": 1.0, "shares": {"road": 0.75, "ignored": 0.125},
        "sequences": [{"first": "a", "last": "c", "frames": 3}], "problems": ["d.png: found a damaged image"],
    }  # fmt: skip
    prediction = {
        "format": "vseg_nas.predict/1", "source": "drive.mp4", "checkpoint": None, "network": "a network",
        "device": "a machine", "size": [540, 960], "network_size": [180, 240], "rate": 25.0, "frames": 7,
        "key_frames": 3, "skipped": 1, "first_skipped": "a reason", "seconds": 0.5, "frames_per_second": 14.0,
        "key_ms": None, "dynamic_ms": {"median": 30.0, "low": 29.0, "high": 32.0},
    }  # fmt: skip
    return {
        "train.json": training | cell | made,
        "compare.json": made
        | {"format": "vseg_nas.compare/1", "dataset": "camvid", "search": "runs/search/camvid/first"}
        | {"rows": [row | {"meta_val": row["val"]} for row in rows]},
        "check.json": made
        | {"format": "vseg_nas.check/2", "dataset": "camvid", "root": "data", "splits": {"train": split}},
        "predict.json": prediction | made,
    }


@pytest.fixture
def write_run(tmp_path: Path) -> WriteRun:
    """Writes the content of a result file into a new run directory below tmp_path/runs."""

    def write(name: str, file: str, data: Json) -> Path:
        run_dir = tmp_path / "runs" / name
        run_dir.mkdir(parents=True, exist_ok=True)
        (run_dir / file).write_text(json.dumps(data))
        return run_dir

    return write


@pytest.fixture
def write_search(tmp_path: Path) -> WriteSearch:
    """Writes the run directory of a search below tmp_path/runs."""

    def write(name: str, trials: Sequence[Trial], strategy: str = "ppo", seed: int = 0) -> Path:
        run_dir = tmp_path / "runs" / name
        run_dir.mkdir(parents=True)
        config = f"dataset:\n  name: camvid\nstrategy:\n  name: {strategy}\nseed: {seed}\n"
        (run_dir / "config.yaml").write_text(config)
        (run_dir / "overrides.json").write_text(json.dumps([f"seed={seed}"]))
        seal(run_dir)
        store_trials(run_dir, trials)
        return run_dir

    return write
