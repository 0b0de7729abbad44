"""The examples of docs/api.md, run as they stand there."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vseg_nas.compare
import vseg_nas.report
import vseg_nas.search
from tests.fixtures import InProcess
from tests.video.making import bright_corner
from vseg_nas.api import CellTraining, load_predictor, search
from vseg_nas.data import SyntheticStreet, training
from vseg_nas.errors import ConfigError, RunError
from vseg_nas.models.static import StaticSegmenter

PAGE = Path(__file__).parents[1] / "docs/api.md"
LABEL, SEARCH = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)


@pytest.fixture(autouse=True)
def one_thread() -> None:
    torch.set_num_threads(1)


def run(block: str, **names: Any) -> dict[str, Any]:
    exec(compile(block, str(PAGE), "exec"), names)
    return names


def test_label_a_video() -> None:
    image = np.random.default_rng(0).integers(0, 256, (50, 70, 3), dtype=np.uint8)
    after = run(LABEL, images=[image] * 2)
    assert after["labels"].shape == (50, 70)
    assert after["labels"].dtype == np.uint8
    assert len(after["predictor"].classes) == 11
    assert len([line for line in LABEL.splitlines() if line]) <= 5


@pytest.mark.usefixtures("capsys")
def test_search_cells(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    clips = SyntheticStreet(6, 3, (64, 64))
    StaticSegmenter(clips.classes).save(tmp_path / "static.safetensors")
    found = run(SEARCH, clips=clips, weights=tmp_path / "static.safetensors")["found"]
    scores = [trial.evaluation.score for trial in found]
    assert len(found) == 2
    assert scores == sorted(scores, reverse=True)
    again = run(SEARCH, clips=clips, weights=tmp_path / "static.safetensors")["found"]  # nothing left to do
    assert [(t.id, t.evaluation) for t in again] == [(t.id, t.evaluation) for t in found]
    assert len([line for line in SEARCH.splitlines() if line]) <= 5


def test_key_frames_come_when_they_should() -> None:
    predictor = load_predictor(key_every=2, size=(64, 64))
    distances = []
    for key in (False, False, False, True, False):
        predictor.step(bright_corner(), key)
        distances.append(predictor.segmenter.distance)
    assert distances == [0, 1, 0, 0, 1]


def test_mistakes_name_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="key_every: found 0"):
        load_predictor(key_every=0)
    with pytest.raises(ConfigError, match="clips: found 8 classes, expected the 2 of the static network"):
        search(SyntheticStreet(2), StaticSegmenter(("a", "b")), tmp_path / "run")


TRAINING = CellTraining(epochs=2, batch_size=4)
CHANGES: dict[str, tuple[dict[str, Any], str]] = {
    "layers": ({"layers": 3}, "layers was 2, is 3"),
    "width": ({"width": "native"}, "width was 64, is native"),
    "seed": ({"seed": 7}, "seed was 0, is 7"),
    "training": ({"training": TRAINING.model_copy(update={"epochs": 3})}, "training.epochs was 2, is 3"),
    "learning rate": ({"training": TRAINING.model_copy(update={"lr": 1e-3})}, "training.lr was 0.008, is 0.001"),
    "strategy": ({"strategy": "random"}, "strategy was ppo, is random"),
    "pruner": ({"pruner": "none"}, "pruner was halfway, is none"),
    "val_fraction": ({"val_fraction": 0.3}, "val_fraction was 0.2, is 0.3"),
    "transform": ({"transform": training((64, 64), flip=False)}, "transform was ...width': 64}), ('HorizontalFlip'"),
    "crop": ({"transform": training((32, 64))}, "transform was ..."),
    "clips": ({"clips": SyntheticStreet(6, 3, (64, 64), seed=1)}, "settings: the clips differ; choose"),
    "fewer clips": ({"clips": SyntheticStreet(5, 3, (64, 64))}, "settings: the clips differ; choose"),
    "weights": (
        {"static": StaticSegmenter(SyntheticStreet(6).classes)},
        "settings: the static network differs; choose",
    ),
    "clips and seed": (
        {"clips": SyntheticStreet(6, 3, (64, 64), seed=1), "seed": 3},
        "the clips differ; seed was 0, is 3; choose",
    ),
    "several": ({"seed": 1, "layers": 1, "width": 32, "pruner": "none"}, "and 1 more"),
}


@pytest.fixture(scope="module")
def searched(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The folder of a search of one cell, and its arguments."""
    torch.set_num_threads(1)
    folder, clips = tmp_path_factory.mktemp("searched"), SyntheticStreet(6, 3, (64, 64))
    arguments: dict[str, Any] = {
        "clips": clips,
        "static": StaticSegmenter(clips.classes),
        "trials": 1,
        "training": TRAINING,
    }
    arguments |= {"layers": 2, "val_fraction": 0.2, "transform": training((64, 64))}
    assert len(search(run_dir=folder / "r", **arguments)) == 1
    return folder / "r", arguments


@pytest.mark.parametrize("change", CHANGES)
def test_a_folder_holds_one_search(searched: tuple[Path, dict[str, Any]], change: str) -> None:
    folder, arguments = searched
    changed, named = CHANGES[change]
    before = {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    with pytest.raises(ConfigError, match=re.escape(named)) as refused:
        search(run_dir=folder, **arguments | {"trials": 2} | changed)
    assert str(folder) in str(refused.value)
    assert {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()} == before


def test_more_trials_go_on_in_the_same_folder(searched: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    folder, arguments = searched
    shutil.copytree(folder, tmp_path / "moved")
    found = search(run_dir=f"{tmp_path}/moved/", **arguments | {"trials": 2})
    assert sorted(trial.id for trial in found) == [0, 1]
    assert len(search(run_dir=tmp_path / "moved", **arguments)) == 2  # a smaller number evaluates nothing


def test_the_folder_of_another_kind_of_run_is_refused(
    searched: tuple[Path, dict[str, Any]], tmp_path: Path, in_process: InProcess
) -> None:
    folder, arguments = searched
    (tmp_path / "command").mkdir()
    (tmp_path / "command/config.yaml").write_text("name: first")
    with pytest.raises(RunError, match="holds the run of a command"):
        search(run_dir=tmp_path / "command", **arguments)
    shutil.copytree(folder, tmp_path / "bare")
    (tmp_path / "bare/settings.json").unlink()
    with pytest.raises(RunError, match=r"holds trials without settings\.json"):
        search(run_dir=tmp_path / "bare", **arguments)
    shutil.copytree(folder, tmp_path / "edited")
    (tmp_path / "edited/settings.json").write_text((folder / "settings.json").read_text().replace("0.2", "0.3"))
    with pytest.raises(RunError, match=r"settings\.json: damaged or edited"):
        search(run_dir=tmp_path / "edited", **arguments | {"val_fraction": 0.3})
    with pytest.raises(ConfigError, match="fraction"):
        search(run_dir=tmp_path / "new", **arguments | {"val_fraction": 2.0})
    assert not (tmp_path / "new").exists()
    commands = ((vseg_nas.search.main, f"resume={folder}"), (vseg_nas.report.main, f"run={folder}"))
    for main, argument in (*commands, (vseg_nas.compare.main, f"run={folder}")):
        status, _, err = in_process(main, argument)
        assert (status, err.count("\n")) == (2, 1), err
        assert str(folder) in err
