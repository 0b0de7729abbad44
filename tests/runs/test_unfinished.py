"""Runs that were killed and cannot resume: the same command begins again, whatever it was, and a finished one stays."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra.core.utils import setup_globals
from omegaconf import DictConfig, OmegaConf

from tests.fixtures import InProcess
from tests.processes import in_fork
from vseg_nas.cli.command import command
from vseg_nas.errors import DataError
from vseg_nas.runs.resume import UNFINISHED, mark_unfinished
from vseg_nas.schema import BenchmarkConfig, CheckConfig, CompareConfig, ExportConfig, PredictConfig, ReportConfig

Run = Callable[[Any, Path], None]

VERBS: list[tuple[str, Any, list[str], str]] = [
    ("predict", PredictConfig, ["source=a.mp4"], "runs/predict/one"),
    ("export", ExportConfig, [], "runs/export/one"),
    ("report", ReportConfig, ["run=some"], "runs/report/one"),
    ("benchmark", BenchmarkConfig, [], "runs/benchmark/one"),
    ("check", CheckConfig, ["dataset=camvid", "dataset.root=some"], "runs/check/camvid/one"),
    ("compare", CompareConfig, ["run=some"], "some/one"),
]


def write(config: Any, run_dir: Path) -> None:
    (run_dir / "result.json").write_text("whole")


def dying(number: int) -> Run:
    def run(config: Any, run_dir: Path) -> None:
        (run_dir / "result.json").write_text("half")
        (run_dir / ".result.partial-0123456789abcdef.json").write_text("quarter")
        os.kill(os.getpid(), number)

    return run


def entry(verb: str, schema: Any, run: Run, products: tuple[str, ...] = ()) -> Callable[[], None]:
    return command(verb, schema, products=products)(run)


def in_child(main: Callable[[], None], *arguments: str) -> int:
    """The exit status of a process that runs a command."""

    def act() -> None:
        sys.argv[1:] = arguments
        main()

    return in_fork(act)


@pytest.mark.parametrize(
    ("number", "verb", "schema", "options", "folder"),
    [(signal.SIGKILL, *verb) for verb in VERBS] + [(signal.SIGTERM, *verb) for verb in VERBS[:2]],
)
def test_the_same_command_begins_again_and_a_finished_run_stays(
    in_process: InProcess, tmp_path: Path, number: int, verb: str, schema: Any, options: list[str], folder: str
) -> None:
    (tmp_path / "some").mkdir()
    options = [*options, "name=one"]
    status = in_child(entry(verb, schema, dying(number)), *options)
    assert status == (-number if number == signal.SIGKILL else 143)
    assert in_process(entry(verb, schema, write), *options)[::2] == (0, "")
    kept = {path.name for path in (tmp_path / folder).iterdir()}
    assert kept >= {"result.json", "config.yaml"}
    assert not kept & {"unfinished", ".result.partial-0123456789abcdef.json"}
    assert (tmp_path / folder / "result.json").read_text() == "whole"
    status, _, err = in_process(entry(verb, schema, dying(number)), *options)
    assert status == 2
    assert "holds a run already; choose another name" in err
    assert (tmp_path / folder / "result.json").read_text() == "whole"


def test_another_command_does_not_replace_an_unfinished_run(in_process: InProcess, tmp_path: Path) -> None:
    main = entry("report", ReportConfig, write)
    in_child(entry("report", ReportConfig, dying(signal.SIGKILL)), "run=some", "name=one")
    before = {path: path.read_bytes() for path in (tmp_path / "runs/report/one").iterdir()}
    status, _, err = in_process(main, "run=other", "name=one")
    assert status == 2
    assert "holds an unfinished run of another command (run was some, is other)" in err
    assert {path: path.read_bytes() for path in (tmp_path / "runs/report/one").iterdir()} == before
    assert in_process(main, "run=some", "name=one", "debug=true")[0] == 0


@pytest.mark.parametrize(
    ("verb", "schema", "options", "change", "told"),
    [
        ("check", CheckConfig, ["dataset=camvid", "dataset.root=a"], "dataset.root=b", "dataset.root was a, is b"),
        ("benchmark", BenchmarkConfig, ["gpu.workers=1"], "gpu.workers=2", "gpu.workers was 1, is 2"),
    ],
)
def test_what_may_differ_when_a_run_is_resumed_makes_another_command_here(
    in_process: InProcess, tmp_path: Path, verb: str, schema: Any, options: list[str], change: str, told: str
) -> None:
    in_child(entry(verb, schema, dying(signal.SIGKILL)), *options, "name=one")
    status, _, err = in_process(entry(verb, schema, write), *options, change, "name=one")
    assert (status, f"holds an unfinished run of another command ({told})" in err) == (2, True), err


def test_what_a_run_does_not_replace_is_taken_away(in_process: InProcess, tmp_path: Path) -> None:
    run_dir, products = tmp_path / "runs/predict/one", ("labels", "frames.csv")

    def killed(config: Any, run_dir: Path) -> None:
        (run_dir / "labels/left").mkdir(parents=True)
        (run_dir / "labels/left/000.png").write_text("old")
        (run_dir / "frames.csv").write_text("old")
        (run_dir / "notes.txt").write_text("of the user")
        os.kill(os.getpid(), signal.SIGKILL)

    found: list[str] = []

    def again(config: Any, run_dir: Path) -> None:
        found.extend(path.name for path in run_dir.iterdir())

    in_child(entry("predict", PredictConfig, killed, products), "source=a.mp4", "name=one")
    assert (run_dir / "frames.csv").exists()
    assert in_process(entry("predict", PredictConfig, again, products), "source=a.mp4", "name=one")[0] == 0
    assert not set(found) & set(products)
    assert "notes.txt" in found


def test_links_are_taken_away_and_not_followed(tmp_path: Path) -> None:
    outside, run_dir = tmp_path / "outside", tmp_path / "run"
    outside.mkdir()
    (outside / "precious").write_text("mine")
    (run_dir / "labels").mkdir(parents=True)
    (run_dir / "labels/link").symlink_to(outside)
    (run_dir / "overlay.mp4").symlink_to(outside)
    (run_dir / ".a.partial-0.png").symlink_to(outside / "precious")
    (run_dir / "dangling").symlink_to("nowhere")
    (run_dir / UNFINISHED).write_text("")
    mark_unfinished(run_dir, ("labels", "overlay.mp4", "dangling"))
    assert [path.name for path in run_dir.iterdir()] == [UNFINISHED]
    assert (outside / "precious").read_text() == "mine"


def test_files_that_are_of_no_run_are_never_taken_away(in_process: InProcess, tmp_path: Path) -> None:
    folder = tmp_path / "runs/predict/one"
    (folder / "labels").mkdir(parents=True)
    (folder / "labels/mine.png").write_text("mine")
    for _ in range(2):
        main = entry("predict", PredictConfig, write, ("labels",))
        status, _, err = in_process(main, "source=a.mp4", "name=one")
        assert status == 2
        assert "labels: is there already and of no run" in err
        assert (folder / "labels/mine.png").read_text() == "mine"
        assert not (folder / "config.yaml").exists()


def test_a_mistake_after_the_first_product_can_be_mended(in_process: InProcess, tmp_path: Path) -> None:
    def fails(config: Any, run_dir: Path) -> None:
        write(config, run_dir)
        raise DataError("full")

    assert in_process(entry("export", ExportConfig, fails), "name=one")[0] == 2
    assert in_process(entry("export", ExportConfig, write), "name=one")[0] == 0


@pytest.mark.parametrize("verb", ["search", "train", "evaluate", "predict", "export", "report", "benchmark", "check"])
def test_two_runs_of_one_second_have_names_of_their_own(verb: str) -> None:
    setup_globals()
    conf = OmegaConf.load(Path(__file__).parents[2] / f"conf/{verb}.yaml")
    assert isinstance(conf, DictConfig)
    pattern = OmegaConf.to_container(conf)["name"]  # type: ignore[index, call-overload]
    first, second = (OmegaConf.create({"name": pattern}).name for _ in range(2))
    assert first != second
    assert first[:15].replace("-", "").isdecimal()
