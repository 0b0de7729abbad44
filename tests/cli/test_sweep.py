"""Several jobs of one command: all run, a table tells what became of them, and the same sweep goes on from there."""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.fixtures import InProcess
from vseg_nas.cli.command import command
from vseg_nas.errors import DataError
from vseg_nas.schema import CommandConfig, ReportConfig, SearchConfig

Jobs = list[str]


@pytest.fixture
def ran(monkeypatch: pytest.MonkeyPatch) -> Jobs:
    monkeypatch.setenv("COLUMNS", "250")
    return []


def reporting(ran: Jobs, act: Callable[[str, Path], object] = lambda run, run_dir: None) -> Callable[[], None]:
    """The command `report` with something else to do."""

    def run(config: ReportConfig, run_dir: Path) -> None:
        ran.append(config.run[0])
        act(config.run[0], run_dir)

    return command("report", ReportConfig, _must_exist)(run)


def _must_exist(config: CommandConfig) -> None:
    assert isinstance(config, ReportConfig)
    if config.run[0].startswith("gone"):
        raise DataError(f"run: found no {config.run[0]}")


def refuse_b(run: str, run_dir: Path) -> None:
    if run == "b":
        raise DataError("b: damaged\nbeyond repair")
    (run_dir / "result").write_text(run)


@pytest.mark.parametrize(
    "line",
    [
        "--multirun run=a,b,c name=x",
        "run=a,b,c --multirun name=x",
        "run=a,b,c name=x --multirun",
        "-m run=a,b,c name=x",
        "run=a,b,c -m name=x",
        "name=x run=a,b,c -m",
        "--multi run=a,b,c name=x",
    ],
)
def test_all_jobs_run_and_a_table_tells(in_process: InProcess, tmp_path: Path, ran: Jobs, line: str) -> None:
    status, out, err = in_process(reporting(ran, refuse_b), *line.split())
    assert (status, ran) == (2, ["a", "b", "c"])
    assert err == "error: job 1 (run=b): b: damaged beyond repair\n"
    rows = [row for row in out.splitlines() if "run=" in row]
    assert ["finished" in row for row in rows] == [True, False, True]
    assert "b: damaged beyond repair" in rows[1]
    sweep = tmp_path / "runs/report/multirun-x"
    assert sorted(path.name for path in sweep.iterdir()) == ["0", "2", "finished.json", "multirun.yaml"]
    assert [(sweep / job / "result").read_text() for job in "02"] == ["a", "c"]


def test_the_same_sweep_again_runs_what_has_failed(in_process: InProcess, tmp_path: Path, ran: Jobs) -> None:
    line = ["run=a,b,c", "-m", "name=x"]
    in_process(reporting(ran, refuse_b), *line)
    sweep = tmp_path / "runs/report/multirun-x"
    before = {path: path.stat().st_mtime_ns for path in sweep.glob("[02]/*")}
    status, out, err = in_process(reporting(ran, refuse_b), *line)
    assert (status, ran[3:]) == (2, ["b"])
    assert out.count("finished before") == 4  # a line and a row each
    assert err.startswith("error: job 1 (run=b)")
    status, out, err = in_process(reporting(ran), *line)
    assert (status, ran[4:], err) == (0, ["b"], "")
    assert {path: path.stat().st_mtime_ns for path in before} == before


def test_another_sweep_of_the_name_is_refused_job_by_job(in_process: InProcess, ran: Jobs) -> None:
    assert in_process(reporting(ran), "run=a,c", "-m", "name=x")[0] == 0
    status, _, err = in_process(reporting(ran), "run=a,d", "-m", "name=x")
    assert (status, ran) == (2, ["a", "c"])
    assert "holds a run already" in err
    assert err.startswith("error: job 1 (run=d)")


def test_what_the_disk_lacks_is_the_failure_of_its_job(in_process: InProcess, tmp_path: Path, ran: Jobs) -> None:
    status, _, err = in_process(reporting(ran), "-m", "run=gone,a,gone2", "runs_dir=deep/runs", "name=x,y")
    assert (status, ran) == (2, ["a", "a"])
    assert [line.split(": ", 2)[2] for line in err.splitlines()] == ["run: found no gone"] * 2 + [
        "run: found no gone2"
    ] * 2
    assert not (tmp_path / "deep/runs/report/multirun-x/0").exists()


def test_nothing_is_left_of_a_sweep_that_failed_altogether(in_process: InProcess, tmp_path: Path, ran: Jobs) -> None:
    assert in_process(reporting(ran), "-m", "run=gone,gone2", "name=x")[0] == 2
    assert [path.name for path in tmp_path.rglob("*") if path.is_file()] == ["multirun.yaml"]


def test_a_bug_keeps_its_traceback_and_the_other_jobs_run(in_process: InProcess, ran: Jobs) -> None:
    def fail(run: str, run_dir: Path) -> None:
        if run == "a":
            raise ZeroDivisionError("our bug")
        if run == "b":
            raise DataError("b: damaged")

    with pytest.raises(ZeroDivisionError, match="our bug"):
        in_process(reporting(ran, fail), "-m", "run=a,b,c", "name=x")
    assert ran == ["a", "b", "c"]


def test_all_jobs_run_where_nothing_can_be_told(
    in_process: InProcess, tmp_path: Path, ran: Jobs, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse_and_fill(run: str, run_dir: Path) -> None:
        monkeypatch.setattr(sys, "stderr", open("/dev/full", "w", buffering=1))  # noqa: SIM115
        refuse_b(run, run_dir)

    assert in_process(reporting(ran, refuse_and_fill), "-m", "run=a,b,c", "name=x")[0] == 2
    assert ran == ["a", "b", "c"]


def test_a_signal_stops_the_sweep(in_process: InProcess, ran: Jobs) -> None:
    def stop(run: str, run_dir: Path) -> None:
        if run == "b":
            raise KeyboardInterrupt

    status, out, err = in_process(reporting(ran, stop), "-m", "run=a,b,c", "name=x")
    assert (status, ran, err) == (130, ["a", "b"], "error: interrupted\n")
    rows = [row for row in out.splitlines() if "run=" in row]
    assert [word in row for word, row in zip(("finished", "interrupted", "not run"), rows, strict=True)] == [True] * 3


def test_a_mistake_that_is_in_every_job_is_told_once(in_process: InProcess, tmp_path: Path, ran: Jobs) -> None:
    for line in (["nosuch=1,2"], ["run=a,b", "debug=maybe"], ["run=a,b", "name=interval(0,1)"], ["runs=a,b"]):
        status, out, err = in_process(reporting(ran), "-m", *line)
        assert (status, out, err.count("\n"), ran) == (2, "", 1, [])
    assert list(tmp_path.iterdir()) == []


def test_a_job_that_can_resume_goes_on_where_it_stood(in_process: InProcess, tmp_path: Path, ran: Jobs) -> None:
    weights = tmp_path / "weights"

    def run(config: SearchConfig, run_dir: Path) -> None:
        ran.append(f"{config.seed} {(run_dir / 'trials').exists()}")
        (run_dir / "trials").touch()
        if config.seed == 2 and not weights.exists():
            raise DataError("weights: damaged")

    main = command("search", SearchConfig)(run)
    line = ["seed=1,2,3", "-m", "name=x", "logger=none"]
    assert in_process(main, *line)[0] == 2
    weights.touch()
    assert in_process(main, *line)[0] == 0
    assert ran == ["1 False", "2 False", "3 False", "2 True"]
    status, _, err = in_process(main, "seed=1,2,4", "-m", "name=x", "logger=none")
    assert status == 2
    assert "seed was 3, is 4" in err


@pytest.mark.parametrize("content", ["", "[", "[]", "null", '{"0": 3}', '{"0": ["run=z"]}', "[" * 100_000])
def test_a_note_of_finished_jobs_that_cannot_be_used_counts_for_nothing(
    in_process: InProcess, tmp_path: Path, ran: Jobs, content: str
) -> None:
    sweep = tmp_path / "runs/report/multirun-x"
    sweep.mkdir(parents=True)
    (sweep / "finished.json").write_text(content)
    assert in_process(reporting(ran), "-m", "run=a,b", "name=x")[0] == 0
    assert ran == ["a", "b"]
    assert json.loads((sweep / "finished.json").read_text()) == {"0": ["run=a", "name=x"], "1": ["run=b", "name=x"]}


FLAGS = {
    "--nosuch": "unrecognized arguments: --nosuch",
    "--config-dir conf": "--config-dir: found 'conf'",
    "--config-path conf": "--config-path: found 'conf'",
    "--config-name x": "--config-name: found 'x'",
    "--experimental-rerun job.pickle": "--experimental-rerun: found 'job.pickle'",
    "--config-dir": "expected one argument",
    "--run --multirun": "expected one of --run",
    "--resolve": "--resolve: found without --cfg",
    "--cfg nosuch": "invalid choice",
    "--cfg job nosuch=1": "nosuch: no such key",
    "--cfg job --package nosuch": "--package: found no 'nosuch'",
    "hydra.mode=MULTIRUN": "hydra.mode: not used here",
    "hydra.job.chdir=true": "hydra.job.chdir: not used here",
    "hydra.job_logging.handlers.file.class=os.system": "hydra.job_logging.handlers.file.class: not used here",
    "+hydra.job.env_set.PATH=x": "hydra.job.env_set.PATH: not used here",
    "hydra.searchpath=[pkg://os]": "hydra.searchpath: not used here",
    "~hydra.run": "hydra.run: not used here",
    "hydra.run.dir=null": "hydra.run.dir",
    "hydra.run.dir=[a]": "hydra.run.dir",
    "-m hydra.sweep.dir=null": "hydra.sweep.dir",
}


@pytest.mark.parametrize("line", FLAGS)
def test_flags_and_keys_of_hydra_that_are_not_used_are_one_line(
    in_process: InProcess, tmp_path: Path, ran: Jobs, line: str
) -> None:
    status, out, err = in_process(reporting(ran), "run=a", *line.split())
    assert (status, out, ran) == (2, "", [])
    assert err.startswith("error: ")
    assert err.count("\n") == 1
    assert FLAGS[line] in err
    assert list(tmp_path.iterdir()) == []


def test_flags_that_show_something_still_do(in_process: InProcess, ran: Jobs) -> None:
    status, out, _ = in_process(reporting(ran), "run=a", "--cfg", "job", "name=x")
    assert (status, ran) == (0, [])
    assert "name: x" in out
