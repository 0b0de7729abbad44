"""Every bad file of a data set is named, and the manifest notices what changed since."""

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vseg_nas.data.camvid import camvid_layout
from vseg_nas.data.inspection import inspect, sequence_reports
from vseg_nas.data.manifest import Manifest
from vseg_nas.errors import DataError
from vseg_nas.results.data_check import FrameSequence

Build = Callable[..., Path]
NAMES = [f"0001TP_{number:06}" for number in (30, 60, 90, 210, 240)]


def problems(root: Path) -> dict[str, str]:
    reports = inspect(camvid_layout(root, "train", 1, 1), threads=3)
    return {f"{r.path.parent.name}/{r.path.name}": r.problem for r in reports if r.problem is not None}


def test_good_files_are_hashed_and_counted(camvid_folder: Build) -> None:
    layout = camvid_layout(camvid_folder(NAMES), "train", 1, 1)
    reports = list(inspect(layout, threads=2))
    assert [report.path for report in reports] == [*layout.frames, *layout.masks]
    assert all(report.problem is None and len(report.sha256) == 64 for report in reports)
    masks = reports[len(NAMES) :]
    assert all(m.pixels is not None and m.pixels[:11].tolist() == [1] * 11 and m.pixels[255] == 37 for m in masks)
    assert len({report.sha256 for report in reports}) == len(NAMES) + 1  # the masks are alike


def test_every_bad_file_is_named(camvid_folder: Build) -> None:
    root = camvid_folder(NAMES)
    (root / "train" / f"{NAMES[0]}.png").write_bytes(b"no picture")
    Image.new("RGB", (4, 4)).save(root / "train" / f"{NAMES[1]}.png")
    Image.new("L", (8, 6)).save(root / "train" / f"{NAMES[2]}.png")
    (root / "train" / f"{NAMES[3]}.png").unlink()
    Image.new("RGB", (8, 6)).save(root / "trainannot" / f"{NAMES[0]}.png")
    Image.fromarray(np.full((6, 8), 12, np.uint8)).save(root / "trainannot" / f"{NAMES[1]}.png")
    (root / "trainannot" / f"{NAMES[2]}.png").unlink()
    found = problems(root)
    expected = {
        f"train/{NAMES[0]}.png": "damaged image",
        f"train/{NAMES[1]}.png": "found 4x4 pixels, expected 8x6",
        f"train/{NAMES[2]}.png": "found image mode L, expected RGB",
        f"train/{NAMES[3]}.png": "No such file",
        f"trainannot/{NAMES[0]}.png": "found image mode RGB, expected L or P",
        f"trainannot/{NAMES[1]}.png": "found label id 12, expected 0 to 11",
        f"trainannot/{NAMES[2]}.png": "No such file",
    }
    assert found.keys() == expected.keys()
    for name, part in expected.items():
        assert part in found[name]
        assert "\n" not in found[name]


@pytest.mark.parametrize("present", [(), (3,)])
def test_frames_that_are_not_there_leave_masks_usable(camvid_folder: Build, present: tuple[int, ...]) -> None:
    """Without one frame there is no size that masks could differ from."""
    root = camvid_folder(NAMES)
    for index, name in enumerate(NAMES):
        if index not in present:
            (root / "train" / f"{name}.png").unlink()
    found = problems(root)
    assert found.keys() == {f"train/{name}.png" for index, name in enumerate(NAMES) if index not in present}
    assert all("No such file" in problem for problem in found.values())


def test_one_readable_frame_gives_the_size_however_many_are_not(camvid_folder: Build) -> None:
    names = [f"0001TP_{number:06}" for number in range(30, 30 * 62, 30)]
    root = camvid_folder(names)
    for name in names[:31] + names[32:]:
        (root / "train" / f"{name}.png").write_bytes(b"?")
    Image.new("L", (4, 4)).save(root / "trainannot" / f"{names[5]}.png")
    assert problems(root)[f"trainannot/{names[5]}.png"].endswith("found 4x4 pixels, expected 8x6")


def test_runs_have_ends(camvid_folder: Build) -> None:
    found = sequence_reports(camvid_layout(camvid_folder(NAMES), "train", 1, 1))
    assert found == [
        FrameSequence(first=NAMES[0], last=NAMES[2], frames=3),
        FrameSequence(first=NAMES[3], last=NAMES[4], frames=2),
    ]


@pytest.fixture
def noted(camvid_folder: Build) -> tuple[Path, Manifest, list[Path]]:
    """A folder, its manifest and its files."""
    root = camvid_folder(NAMES)
    reports = list(inspect(camvid_layout(root, "train", 1, 1), threads=2))
    return root, Manifest.of(root, {r.path: r.sha256 for r in reports}), [r.path for r in reports]


def test_unchanged_files_are_not_read_again(
    noted: tuple[Path, Manifest, list[Path]], monkeypatch: pytest.MonkeyPatch
) -> None:
    root, manifest, files = noted
    manifest = Manifest.from_json(manifest.to_json(), root / "manifest.json")
    monkeypatch.setattr(Path, "open", lambda *_: pytest.fail("a file was read"))
    manifest.verify(root, files)


def test_a_copy_with_new_times_is_the_same_data(noted: tuple[Path, Manifest, list[Path]]) -> None:
    root, manifest, files = noted
    for path in files:
        os.utime(path, ns=(1, 1))
    manifest.verify(root, files)


@pytest.mark.parametrize("same_size", [True, False])
def test_a_changed_file_is_named(noted: tuple[Path, Manifest, list[Path]], same_size: bool) -> None:
    root, manifest, files = noted
    data = bytearray(files[2].read_bytes())
    data[40] ^= 1
    files[2].write_bytes(data if same_size else data + b"!")
    with pytest.raises(DataError, match=f"{files[2].name}: changed since `check` read it"):
        manifest.verify(root, files)


def test_a_new_file_is_named(noted: tuple[Path, Manifest, list[Path]]) -> None:
    root, manifest, _ = noted
    with pytest.raises(DataError, match=r"new\.png: found no record"):
        manifest.verify(root, [root / "train" / "new.png"])


@pytest.mark.parametrize("text", ["{", "[]", '{"format": "vseg_nas.manifest/1", "root": "r", "files": {"a": [1, 2]}}'])
def test_a_damaged_manifest_is_refused(text: str) -> None:
    with pytest.raises(DataError, match=r"m\.json: .*make it again with `check`"):
        Manifest.from_json(text, Path("m.json"))
