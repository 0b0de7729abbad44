"""Commands that are printed can be copied into a shell, whatever blanks and accents the paths in them have."""

from __future__ import annotations

import re
import shlex
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

import vseg_nas.pretrain
import vseg_nas.search
from tests.fixtures import InProcess
from vseg_nas.cli.command import command
from vseg_nas.cli.printed import python_command, shared_overrides
from vseg_nas.cli.values import assignment
from vseg_nas.schema import (
    CommandConfig,
    CompareConfig,
    EvaluateConfig,
    PretrainConfig,
    ReportConfig,
    SearchConfig,
    TrainConfig,
)

SCHEMAS: dict[str, type[CommandConfig]] = {
    "pretrain": PretrainConfig,
    "search": SearchConfig,
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "report": ReportConfig,
    "compare": CompareConfig,
}
ROOT = "Meine Videos/été (1), 'b' [c]"


def given(in_process: InProcess, line: str) -> Any:
    """The configuration that a printed command has, run by a shell in this folder."""
    _, _, module, *overrides = shlex.split(line)
    verb = module.removeprefix("vseg_nas.")
    schema = SCHEMAS[verb]
    seen: list[Any] = []
    main = command(verb, schema)(lambda config, run_dir: seen.append(config))
    assert in_process(main, *overrides) == (0, "", "")
    return seen[0]


def test_next_commands_after_a_search(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lines: list[str] = []

    def run(config: SearchConfig, run_dir: Path) -> None:
        lines.extend(vseg_nas.search._next_commands(config, run_dir.relative_to(tmp_path), ended=True))

    shared = ["dataset=camvid", f"dataset.root={ROOT}", "phase.train.cell.epochs=3", f"static.weights={ROOT}/w.pth"]
    assert in_process(command("search", SearchConfig)(run), *shared, "name=so gut", f"runs_dir={ROOT}/runs")[0] == 0
    folder = f"{ROOT}/runs/search/camvid/so gut"
    resumed, compared, trained = (given(in_process, line) for line in lines)
    assert (resumed.resume, resumed.name, resumed.dataset.root) == (folder, "so gut", ROOT)
    assert resumed.phase.search.trials == 2 * 2000
    assert compared.run == folder
    assert (trained.cell, trained.dataset.root, trained.static.weights) == (f"{folder}:1", ROOT, f"{ROOT}/w.pth")
    assert (trained.runs_dir, trained.phase.train.cell.epochs) == (f"{ROOT}/runs", 3)


def test_errors_that_print_a_command(in_process: InProcess, tmp_path: Path) -> None:
    (tmp_path / ROOT).mkdir(parents=True)
    shared = ["dataset=camvid", f"dataset.root={ROOT}", "runs_dir=alle Läufe"]
    status, _, err = in_process(vseg_nas.search.main, *shared)
    assert status == 2
    made = given(in_process, err.split("make it with: ")[1])
    assert (made.dataset.root, made.runs_dir) == (ROOT, "alle Läufe")
    status, _, err = in_process(vseg_nas.pretrain.main, *shared)  # that name is taken now
    assert status == 2
    (resume,) = re.findall(r"continue it with (.*), or choose", err)
    (argument,) = shlex.split(resume)
    assert Path(argument.removeprefix("resume=")).resolve() == tmp_path / "alle Läufe/pretrain/camvid/arch2"
    assert given(in_process, f"python -m vseg_nas.pretrain {resume}").dataset.root == ROOT


def test_a_python_in_a_folder_with_blanks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "executable", str(tmp_path / "my env/bin/python"))
    assert shlex.split(python_command()) == ["my env/bin/python"]
    monkeypatch.setattr(
        sys, "argv", ["x", "gpu=many", "gpu.devices=4", "dataset.root='a b'", "static.name=ü", "seed=1"]
    )
    assert shlex.split(shared_overrides()) == ["gpu=one", "dataset.root='a b'", "static.name=ü"]


def test_a_list_of_runs_and_a_checkpoint(in_process: InProcess) -> None:
    (folder,) = given(in_process, f"python -m vseg_nas.report {assignment('run', '[a] b')}").run
    assert folder == "[a] b"
    overrides = f"{assignment('checkpoint', ROOT + '/video.safetensors')} {assignment('name', 'null')}"
    config = given(in_process, f"python -m vseg_nas.evaluate {overrides}")
    assert (config.checkpoint, config.name) == ((f"{ROOT}/video.safetensors",), "null")
    assert OmegaConf.load(Path("runs/evaluate/synthetic/null/config.yaml")).name == "null"
