"""A data set checked as a user does it."""

import json
import os
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import vseg_nas.check
import vseg_nas.evaluate
import vseg_nas.pretrain
import vseg_nas.search
import vseg_nas.train
from tests.builders import write_camvid

Start = Callable[..., tuple[int, str, str]]


@pytest.fixture
def start(in_process: Start) -> Start:
    """Runs `check`."""
    return partial(in_process, vseg_nas.check.main)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Three splits of two frames each, all road."""
    return write_camvid(tmp_path / "data", frames=2, size=(6, 8), label=3)


def test_a_good_data_set_gets_a_manifest(start: Start, root: Path, tmp_path: Path) -> None:
    status, out, err = start("dataset=camvid", f"dataset.root={root}", "name=a")
    assert (status, err) == (0, "")
    assert "12 files can be used" in out
    assert "100.00" in out  # all road
    result = json.loads((tmp_path / "runs/check/camvid/a/check.json").read_text())
    assert result["splits"]["val"]["sequences"] == [{"first": "0016E5_000030", "last": "0016E5_000060", "frames": 2}]
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


def test_a_folder_whose_name_is_not_utf_8_is_escaped(
    start: Start, in_process: Start, root: Path, tmp_path: Path
) -> None:
    odd = root.rename(tmp_path / os.fsdecode(b"caf\xe9"))
    status, _, err = start("dataset=camvid", f"dataset.root={odd}")
    assert (status, err.count("\n")) == (2, 1)
    assert "which is no UTF-8" in err
    (tmp_path / "link").symlink_to(odd)
    command = ["dataset=camvid", f"dataset.root={tmp_path}/link"]
    mask = odd / "valannot" / "0016E5_000030.png"
    content = mask.read_bytes()
    mask.write_bytes(b"?")
    status, out, err = start(*command, "name=a")
    assert (status, err.count("\n")) == (2, 1)
    assert f"{tmp_path}/link/valannot/0016E5_000030.png: found a damaged image" in out
    mask.write_bytes(content)
    status, out, err = start(*command, "name=b")
    assert (status, err) == (0, "")
    manifest = json.loads((tmp_path / "runs/check/camvid/manifest.json").read_text(encoding="utf-8"))
    assert manifest["root"] == f"{tmp_path}/caf\\udce9"
    mask.write_bytes(content[:-1] + b"?")
    options = ["static.name=a", "static.encoder_weights=null", "gpu=cpu"]
    status, _, err = in_process(vseg_nas.pretrain.main, *command, *options)
    assert (status, err.count("\n")) == (2, 1)
    assert "0016E5_000030.png: changed since `check` read it" in err


def void(root: Path, split: str) -> None:
    """Makes all masks of a split hold nothing but the ignored label."""
    from PIL import Image

    for path in (root / f"{split}annot").iterdir():
        Image.new("L", (8, 6), 11).save(path)


def test_a_data_set_without_a_test_split_is_checked(start: Start, root: Path, tmp_path: Path) -> None:
    (root / "test.txt").unlink()
    status, out, err = start("dataset=camvid", f"dataset.root={root}", "name=a")
    assert (status, err) == (0, "")
    assert "8 files can be used" in out
    result = json.loads((tmp_path / "runs/check/camvid/a/check.json").read_text())
    assert result["splits"].keys() == {"train", "val"}


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_missing_list_that_training_needs_is_one_line(start: Start, root: Path, split: str) -> None:
    (root / f"{split}.txt").unlink()
    status, _, err = start("dataset=camvid", f"dataset.root={root}", "name=a")
    assert (status, err.count("\n")) == (2, 1)
    assert f"{split}.txt: found no readable list" in err


@pytest.mark.parametrize("split", ["train", "val"])
def test_a_split_without_a_labelled_pixel_is_one_line(start: Start, root: Path, tmp_path: Path, split: str) -> None:
    void(root, split)
    status, _, err = start("dataset=camvid", f"dataset.root={root}", "name=a")
    assert status == 2
    assert err == f"error: {root}: found no labelled pixel in the 2 masks of {split}, expected some\n"
    assert not (tmp_path / "runs/check/camvid/manifest.json").exists()


def test_labels_of_the_test_split_may_be_withheld(start: Start, root: Path) -> None:
    void(root, "test")
    status, out, err = start("dataset=camvid", f"dataset.root={root}", "name=a")
    assert (status, err) == (0, "")
    assert "12 files can be used" in out


@pytest.fixture
def static_weights(tmp_path: Path) -> Path:
    """An untrained static network of CamVid's classes, where commands look for it."""
    from vseg_nas.data.camvid import CLASSES
    from vseg_nas.models.static import StaticSegmenter

    path = tmp_path / "runs/pretrain/camvid/arch2/static.safetensors"
    path.parent.mkdir(parents=True)
    StaticSegmenter(CLASSES).save(path)
    return path


COMMANDS: dict[str, tuple[Callable[[], None], list[str]]] = {
    "pretrain": (vseg_nas.pretrain.main, ["static.name=a", "static.encoder_weights=null"]),
    "search": (vseg_nas.search.main, ["name=a", "logger=none", "dataset.length=2"]),
    "train": (vseg_nas.train.main, ["name=a", "logger=none", "dataset.length=2", "cell=local_filters"]),
    "evaluate": (vseg_nas.evaluate.main, ["name=a", "checkpoint=data/train.txt"]),
}


@pytest.mark.parametrize(
    ("verb", "split", "found"),
    [
        ("pretrain", "train", "train (clips: 4)"),
        ("pretrain", "val", "val (clips: 2)"),
        ("search", "train", "meta-train (clips: 2)"),
        ("search", "val", "val (clips: 1)"),
        ("train", "train", "train (clips: 3)"),
        ("train", "val", "val (clips: 1)"),
        ("evaluate", "val", "val (clips: 1)"),
    ],
)
def test_no_command_begins_on_unlabelled_data(
    in_process: Start, root: Path, static_weights: Path, tmp_path: Path, verb: str, split: str, found: str
) -> None:
    for number in (90, 120):  # a search cuts its clips in two
        for folder in ("train", "trainannot"):
            shutil.copy(root / folder / "0001TP_000030.png", root / folder / f"0001TP_{number:06}.png")
    (root / "train.txt").write_text("".join(f"0001TP_{number:06}.png\n" for number in (30, 60, 90, 120)))
    void(root, split)
    main, options = COMMANDS[verb]
    status, out, err = in_process(main, "dataset=camvid", f"dataset.root={root}", "gpu=cpu", *options)
    assert (status, err) == (2, f"error: dataset: found no labelled pixel in {found}, expected some\n")
    assert "epoch" not in out
    assert "caching" not in out
    assert not (tmp_path / f"runs/{verb}/camvid/a").exists()


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
    command = ["dataset=camvid", f"dataset.root={root}", "static.encoder_weights=null", "gpu=cpu"]
    status, _, err = in_process(vseg_nas.pretrain.main, *command)
    assert status == 2
    assert err.startswith(f"error: {frame}: changed since `check` read it")
