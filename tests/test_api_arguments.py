"""Arguments of the Python API that cannot be used: an error that names them, before anything is written."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import vseg_nas.api
import vseg_nas.assembly.search_plan
from tests.nas.loops import FakeExecutor
from vseg_nas.api import CellTraining, load_predictor, search
from vseg_nas.data import InMemory, RawClip, SyntheticStreet, meta_split, training
from vseg_nas.errors import ConfigError, DataError, RunError, UserError
from vseg_nas.labels import IGNORE
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.nas.executors.executor import Attempt, Failure
from vseg_nas.nas.trial import FailureKind

CLIPS = SyntheticStreet(5, 3, (64, 64))
TINY = SyntheticStreet(5, 3, (32, 32))
TRAINING = CellTraining(epochs=1, batch_size=2)
NAN = float("nan")


class Changed(InMemory):
    """Clips of which some are changed."""

    def __init__(self, source: Any, unlabelled: set[int], length: int = 3) -> None:
        super().__init__(source)
        self.unlabelled = unlabelled
        self.length = length

    def __getitem__(self, index: int) -> RawClip:
        clip = super().__getitem__(index)
        masks = clip.masks if index not in self.unlabelled else tuple(np.full_like(m, IGNORE) for m in clip.masks)
        return RawClip(clip.frames[: self.length], masks[: self.length], clip.names[: self.length])


@pytest.fixture(scope="module")
def arguments() -> dict[str, Any]:
    torch.set_num_threads(1)
    static = StaticSegmenter(CLIPS.classes)
    return {"clips": CLIPS, "static": static, "trials": 1, "training": TRAINING, "layers": 1, "val_fraction": 0.2}


def changed(field: str, value: Any) -> CellTraining:
    return TRAINING.model_copy(update={field: value})


WRONG: dict[str, tuple[dict[str, Any], type[UserError], str]] = {
    **{
        f"trials {value!r}": ({"trials": value}, ConfigError, f"trials: found {value!r}, expected")
        for value in (-1, 0, 1.5, True, "2", None, NAN)
    },
    **{
        f"seed {value!r}": ({"seed": value}, ConfigError, f"seed: found {value!r}, expected")
        for value in (0.0, True, -1, "0", None)
    },
    **{
        f"val_fraction {value!r}": ({"val_fraction": value}, ConfigError, f"fraction: found {value!r}, expected")
        for value in ("0.1", None, True)
    },
    "val_fraction nan": ({"val_fraction": NAN}, ConfigError, "val_fraction: found nan, expected"),
    "val_fraction 1": ({"val_fraction": 1}, ConfigError, "fraction 1, expected"),
    "device foo": ({"device": "foo"}, ConfigError, "device: found 'foo', expected cpu or cuda"),
    "device cuda": ({"device": "cuda"}, ConfigError, "device: found no CUDA device, expected one; use cpu"),
    "device cuda:0": ({"device": "cuda:0"}, ConfigError, "device: found 'cuda:0', expected cpu or cuda"),
    "device meta": ({"device": "meta"}, ConfigError, "device: found 'meta', expected cpu or cuda"),
    "device None": ({"device": None}, ConfigError, "device: found None, expected cpu or cuda"),
    "layers 0": ({"layers": 0}, ConfigError, "layers: found 0, expected 1..10"),
    "layers 2.0": ({"layers": 2.0}, ConfigError, "layers: found 2.0, expected 1..10"),
    "width all": ({"width": "all"}, ConfigError, "width: found 'all', expected 1..1024"),
    "strategy": ({"strategy": "best"}, ConfigError, "strategy: found 'best', expected one of ppo, reinforce, random"),
    "pruner": ({"pruner": None}, ConfigError, "pruner: found None, expected one of halfway, median, none"),
    "vocabulary": ({"vocabulary": "any"}, ConfigError, "vocabulary: found 'any', expected one of paper, streaming"),
    "training": ({"training": None}, ConfigError, "training: found None, expected a CellTraining"),
    **{
        f"training.{field} {value!r}": (
            {"training": changed(field, value)},
            ConfigError,
            f"training.{field}: found {value!r}, expected",
        )
        for field, value in (
            *(("epochs", 0), ("epochs", 1.5), ("batch_size", 0), ("batch_size", "8"), ("lr", NAN), ("lr", 0)),
            *(("weight_decay", -1), ("gradient_clip", 0.0), ("gradient_clip", None)),
        )
    },
    "batches of one": ({"clips": TINY, "training": changed("batch_size", 1)}, ConfigError, "a clip of 32x32 is"),
    "a last batch of one": (
        {"clips": TINY, "training": changed("batch_size", 3)},
        ConfigError,
        "training.batch_size: found 3, by which a clip of 32x32 is alone in its batch (4 clips)",
    ),
    "one clip": ({"clips": SyntheticStreet(2, 3, (32, 32))}, ConfigError, "(1 clip)"),
    "a crop": (
        {"transform": training((32, 32)), "training": changed("batch_size", 1)},
        ConfigError,
        "a clip of 32x32 is alone",
    ),
    "no labels": ({"clips": Changed(CLIPS, set(range(5)))}, DataError, "clips: found no labelled pixel in meta-train"),
    "no labels to score on": (
        {"clips": Changed(CLIPS, set(meta_split(CLIPS, 0.2).val))},
        DataError,
        "clips: found no labelled pixel in meta-val",
    ),
    "single frames": ({"clips": Changed(CLIPS, set(), 1)}, DataError, "clips: found 1 frame a clip, expected 2 or"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_argument_leaves_nothing(
    arguments: dict[str, Any], case: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    change, kind, message = WRONG[case]
    with pytest.raises(kind, match=re.escape(message)):
        search(run_dir=tmp_path / "new/run", **arguments | change)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"epochs": 0}, "epochs: found 0, expected at least 1"),
        ({"lr": True}, "lr: found True, expected a number"),
        ({"gradient_clip": None}, "gradient_clip: found None, expected a number"),
        ({"schedule": "cosine"}, "schedule: found 'cosine', expected one of: constant, poly"),
        ({"epoch": 3}, "epoch: no such key; did you mean epochs?"),
    ],
)
def test_settings_that_cannot_be_are_one_line(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError) as refused:
        CellTraining(**values)
    assert str(refused.value) == message


@pytest.mark.parametrize("name", ["file", "file/run", "file/run/deep", "a\0b", "x" * 256, "circle/run", "circle"])
def test_a_folder_that_cannot_be_made_is_named(arguments: dict[str, Any], name: str, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    (tmp_path / "circle").symlink_to("circle")
    before = sorted(path.name for path in tmp_path.rglob("*"))
    with pytest.raises((RunError, ConfigError), match=r"(run_dir|file|circle).*: (found|cannot be)") as refused:
        search(run_dir=f"{tmp_path}/{name}", **arguments)
    assert isinstance(refused.value, RunError) == name.startswith(("file", "circle"))
    assert sorted(path.name for path in tmp_path.rglob("*")) == before


def test_a_folder_that_is_not_ones_own_is_named(
    arguments: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *args: object, **kwargs: object) -> None:
        raise PermissionError(13, os.strerror(13), str(path))

    monkeypatch.setattr(Path, "mkdir", refuse)
    with pytest.raises(RunError, match=r"run: cannot be made \(Permission denied\), expected a folder"):
        search(run_dir=tmp_path / "run", **arguments)


def test_batches_that_are_large_enough_are_searched_with(arguments: dict[str, Any], tmp_path: Path) -> None:
    """Two clips, or one clip of two values a channel, are enough for batch norm."""
    wide = {"clips": SyntheticStreet(5, 3, (32, 64)), "training": changed("batch_size", 1)}
    changes: list[dict[str, Any]] = [{"clips": TINY}, wide]
    for index, change in enumerate(changes):
        assert len(search(run_dir=tmp_path / str(index), **arguments | change)) == 1


def test_a_search_without_a_score_says_so(
    arguments: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Failing(FakeExecutor):
        def __init__(self, *args: object, **kwargs: object) -> None:
            super().__init__()

        def wait(self) -> list[Attempt]:
            return [Attempt(self.running.pop(), Failure(FailureKind.ERROR, "ValueError('bad')"))]

    monkeypatch.setattr(vseg_nas.assembly.search_plan, "SerialExecutor", Failing)
    with pytest.raises(RunError, match=r"run: found no cell with a score among 3; the last: .*ValueError\('bad'\)"):
        search(run_dir=tmp_path / "run", **arguments | {"trials": 3})


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"size": 5}, ValueError, "size: found 5, expected height and width in pixels"),
        ({"size": (0, 5)}, ValueError, "size: found (0, 5), expected height and width"),
        ({"size": (True, 64)}, ValueError, "size: found (True, 64), expected height and width"),
        ({"size": (64.0, 64)}, ValueError, "size: found (64.0, 64), expected height and width"),
        ({"size": "64"}, ValueError, "size: found '64', expected height and width"),
        ({"size": {64: 1, 32: 2}}, ValueError, "size: found {"),
        ({"key_every": 1.5}, ValueError, "key_every: found 1.5, expected a whole number, 1 or more"),
        ({"key_every": True}, ValueError, "key_every: found True, expected a whole number, 1 or more"),
        ({"key_every": "2"}, ValueError, "key_every: found '2', expected a whole number, 1 or more"),
        ({"key_every": -1}, ValueError, "key_every: found -1, expected a whole number, 1 or more"),
        ({"device": "foo"}, ConfigError, "device: found 'foo', expected cpu or cuda"),
        ({"device": "cpu:x"}, ConfigError, "device: found 'cpu:x', expected cpu or cuda"),
        ({"device": ""}, ConfigError, "device: found '', expected cpu or cuda"),
        ({"device": 0}, ConfigError, "device: found 0, expected cpu or cuda"),
        ({"device": "cuda"}, ConfigError, "device: found no CUDA device, expected one; use cpu"),
        ({"checkpoint": "a\0b"}, ConfigError, r"checkpoint: found 'a\x00b', expected characters without NUL"),
        ({"checkpoint": "x" * 300}, ConfigError, "checkpoint: found 'xxx"),
    ],
)
def test_a_wrong_option_of_a_segmenter_names_what_was_found(
    options: dict[str, Any], kind: type[Exception], message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(kind, match=re.escape(message)):
        load_predictor(**options)


def test_the_size_of_a_segmenter_may_be_a_list() -> None:
    assert load_predictor(size=[64, 32]).size == (64, 32)  # type: ignore[arg-type]
