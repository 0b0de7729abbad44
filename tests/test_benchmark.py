"""`benchmark` as a user runs it: what it writes, what it shows, what it refuses."""

import contextlib
import io
import json
import math
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from hydra.core.global_hydra import GlobalHydra

import vseg_nas.benchmark
from tests.builders import save_network, video_spec
from tests.fixtures import InProcess
from vseg_nas.space.hand_written import HAND_WRITTEN

TIME = {"median", "low", "high"}
CELL = {"genotype", "expression", "past", "flow"}
TINY = ["size=[64,96]", "repeats=3", "warmup=1", "gpu=cpu", "gpu.threads=1"]
CLASSES = ("road", "sky", "car")

Refuse = Callable[..., str]


class Run(NamedTuple):
    checkpoint: Path
    result: dict[str, Any]
    shown: str


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Run:
    """One run with a checkpoint and a cell, in this process."""
    import torch

    folder, threads = tmp_path_factory.mktemp("benchmark"), torch.get_num_threads()
    checkpoint = folder / "video.safetensors"
    save_network(checkpoint, video_spec(classes=CLASSES, past="zero"))
    overrides = [*TINY, f"checkpoint={checkpoint}", "cell=gated_warp", "flow=true", "name=one"]
    with pytest.MonkeyPatch.context() as patch, contextlib.redirect_stdout(io.StringIO()) as shown:
        patch.chdir(folder)
        patch.setenv("COLUMNS", "140")
        # the CPU does not know it, and the result has to say so
        patch.setattr(sys, "argv", ["benchmark", *overrides, "gpu.precision=bf16-mixed"])
        vseg_nas.benchmark.main()
    GlobalHydra.instance().clear()
    torch.set_num_threads(threads)
    return Run(checkpoint, json.loads((folder / "runs/benchmark/one/benchmark.json").read_text()), shown.getvalue())


@pytest.fixture
def refuse(in_process: InProcess, tmp_path: Path) -> Refuse:
    """The line on stderr of a command line that ends with status 2 and leaves nothing."""

    def call(*overrides: str) -> str:
        before = set(tmp_path.rglob("benchmark.json"))
        status, _, err = in_process(vseg_nas.benchmark.main, *TINY, *overrides)
        assert status == 2
        assert set(tmp_path.rglob("benchmark.json")) == before
        return err

    return call


def test_the_file_has_the_keys_it_promises(done: Run) -> None:
    result = done.result
    head = {"format", "device", "precision", "size", "classes", "repeats", "command", "date"}
    assert set(result) == head | {"rows"}
    assert result["format"] == "vseg_nas.benchmark/1"
    assert result["device"].startswith("cpu: ")
    assert "1 thread;" in result["device"]
    assert (result["precision"], result["size"], result["repeats"]) == (
        "fp32, batch norms folded, channels-last",
        [64, 96],
        3,
    )
    assert result["command"].startswith("python -m vseg_nas.benchmark 'size=[64,96]' repeats=3 ")
    sizes = {"parameters", "macs_static", "macs_dynamic", "peak_mib"}
    for row in result["rows"]:
        assert set(row) == {"name", *CELL, "static_ms", "dynamic_ms", "average_ms"} | sizes


def test_every_number_is_finite_and_quartiles_are_in_order(done: Run) -> None:
    times = [row["static_ms"] for row in done.result["rows"]]
    for row in done.result["rows"][1:]:
        assert set(row["average_ms"]) == {"2", "5", "10", "unlimited"}
        assert row["average_ms"]["unlimited"] == row["dynamic_ms"]
        times += [row["dynamic_ms"], *row["average_ms"].values()]
    assert len(times) == 3 + 2 * 5
    for time in times:
        assert set(time) == TIME
        assert 0 < time["low"] <= time["median"] <= time["high"] < math.inf


def test_rows_are_arch2_the_checkpoint_and_the_cell(done: Run) -> None:
    arch2, trained, warped = done.result["rows"]
    assert done.result["classes"] == len(CLASSES)
    names = ["arch2", "mine, zeros for the previous frame", "gated_warp, warped by flow"]
    assert [row["name"] for row in (arch2, trained, warped)] == names
    assert arch2["expression"] == ""
    assert all(arch2[key] is None for key in ("genotype", "past", "flow", "macs_dynamic", "dynamic_ms", "average_ms"))
    assert (trained["past"], trained["flow"], warped["past"], warped["flow"]) == ("zero", False, "previous", True)
    for row, name in ((trained, "local_filters"), (warped, "gated_warp")):
        assert row["genotype"] == HAND_WRITTEN[name].to_dict()
    for row in (trained, warped):
        assert row["expression"].endswith("out = b" if row is trained else "out = c")
        assert row["parameters"] > arch2["parameters"]
        assert row["macs_static"] == arch2["macs_static"]
        assert 0 < row["macs_dynamic"] < row["macs_static"]
        assert row["peak_mib"] > 4 * row["parameters"] / 2**20
    assert trained["macs_dynamic"] != warped["macs_dynamic"]


def test_the_report_can_read_it_and_the_terminal_shows_it(done: Run) -> None:
    for row in done.result["rows"]:
        assert row["name"] in done.shown
        static = row["static_ms"]
        assert f"{static['median']:.1f} ({static['low']:.1f}-{static['high']:.1f})" in done.shown
    assert "average of 10, ms" in done.shown
    assert "fp32" in done.shown
    from vseg_nas.results.result import read_result
    from vseg_nas.results.runtime import BenchmarkResult

    path = done.checkpoint.parent / "runs/benchmark/one/benchmark.json"
    read = read_result(path, BenchmarkResult)
    assert [row.parameters for row in read.rows] == [row["parameters"] for row in done.result["rows"]]


@pytest.mark.parametrize(
    ("mistake", "parts"),
    [
        ("cell=nothing", ["cell: found 'nothing'", "local_filters, low_latency, aligned_low_latency, gated_warp"]),
        ("size=[16,64]", ["size[0]: found 16", "at least 32"]),
        ("size=[64]", ["size: found [64]", "2 numbers"]),
        ("checkpoint=none.safetensors", ["checkpoint: found no file none.safetensors"]),
        ("flow=true", ["flow: found true", "cell="]),
        ("repeats=0", ["repeats: found 0", "at least 1"]),
        ("classes=1", ["classes: found 1", "at least 2"]),
    ],
)
def test_a_mistake_is_one_line_and_makes_nothing(
    refuse: Refuse, tmp_path: Path, mistake: str, parts: list[str]
) -> None:
    err = refuse(mistake)
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    for part in parts:
        assert part in err
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_of_other_classes_is_refused(refuse: Refuse, done: Run, tmp_path: Path) -> None:
    err = refuse(f"checkpoint={done.checkpoint}", "classes=4", "name=other")
    assert err == f"error: {done.checkpoint}: trained for 3 classes, expected 4, as classes= says\n"
    assert not (tmp_path / "runs/benchmark/other").exists()
