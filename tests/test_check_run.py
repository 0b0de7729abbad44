"""A data set checked as a user does it."""

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import vseg_nas.check
import vseg_nas.pretrain

Start = Callable[..., tuple[int, str, str]]


@pytest.fixture
def start(in_process: Start) -> Start:
    """Runs `check`."""
    return partial(in_process, vseg_nas.check.main)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three splits of two frames each."""
    import numpy as np
    from PIL import Image

    for split, video in (("train", "0001TP"), ("val", "0016E5"), ("test", "0006R0")):
        names = [f"{video}_{number:06}" for number in (30, 60)]
        for folder in (split, f"{split}annot"):
            (tmp_path / "data" / folder).mkdir(parents=True)
        for name in names:
            Image.new("RGB", (8, 6)).save(tmp_path / "data" / split / f"{name}.png")
            mask = np.full((6, 8), 3, np.uint8)
            Image.fromarray(mask).save(tmp_path / "data" / f"{split}annot" / f"{name}.png")
        (tmp_path / "data" / f"{split}.txt").write_text("".join(f"{name}.png\n" for name in names))
    return tmp_path / "data"


def test_a_good_data_set_gets_a_manifest(start: Start, root: Path, tmp_path: Path) -> None:
    status, out, err = start("dataset=camvid", f"dataset.root={root}", "name=a")
    assert (status, err) == (0, "")
    assert "12 files can be used" in out
    assert "100.00" in out  # all road
    result = json.loads((tmp_path / "runs/check/camvid/a/check.json").read_text())
    assert result["val"]["runs"] == [{"first": "0016E5_000030", "last": "0016E5_000060", "frames": 2}]
    manifest = json.loads((tmp_path / "runs/check/camvid/manifest.json").read_text())
    assert len(manifest["files"]) == 12


def test_bad_files_are_all_named_and_leave_no_manifest(start: Start, root: Path, tmp_path: Path) -> None:
    bad = [root / "valannot" / "0016E5_000030.png", root / "test" / "0006R0_000060.png"]
    for path in bad:
        path.write_bytes(b"?")
    status, out, err = start("dataset=camvid", f"dataset.root={root}", "name=a")
    assert status == 2
    assert err == f"error: {root}: found 2 of 12 files that cannot be used\n"
    assert all(str(path) in out for path in bad)
    assert not (tmp_path / "runs/check/camvid/manifest.json").exists()


@pytest.mark.parametrize(
    ("mistake", "part"),
    [
        ("dataset=synthetic", "synthetic, which has no files"),
        ("dataset=camvid", "dataset.root: not set"),
        ("dataset=camvid dataset.root=nowhere", "found no folder nowhere"),
        ("threads=0", "threads: found 0"),
    ],
)
def test_mistakes_are_one_line(start: Start, tmp_path: Path, mistake: str, part: str) -> None:
    status, _, err = start(*mistake.split())
    assert status == 2
    assert part in err
    assert err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_changed_since_is_refused_by_the_commands_that_use_it(
    start: Start, in_process: Start, root: Path
) -> None:
    assert start("dataset=camvid", f"dataset.root={root}", "name=a")[0] == 0
    frame = root / "train" / "0001TP_000060.png"
    frame.write_bytes(frame.read_bytes()[:-1] + b"?")
    command = ["dataset=camvid", f"dataset.root={root}", "phase.pretrain.encoder_weights=null", "gpu=cpu"]
    status, _, err = in_process(vseg_nas.pretrain.main, *command)
    assert status == 2
    assert err.startswith(f"error: {frame}: changed since `check` read it")
