"""The examples of docs/api.md, run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.video.making import bright_corner
from vseg_nas.api import load_segmenter, search
from vseg_nas.data import SyntheticStreet
from vseg_nas.errors import ConfigError
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
    assert len(after["segmenter"].classes) == 11
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
    segmenter = load_segmenter(key_every=2, size=(64, 64))
    distances = []
    for key in (False, False, False, True, False):
        segmenter.step(bright_corner(), key)
        distances.append(segmenter.segmenter.distance)
    assert distances == [0, 1, 0, 0, 1]


def test_mistakes_name_what_was_found(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="key_every: found 0"):
        load_segmenter(key_every=0)
    with pytest.raises(ConfigError, match="clips: found 8 classes, expected the 2 of the static network"):
        search(SyntheticStreet(2), StaticSegmenter(("a", "b")), tmp_path / "run")
