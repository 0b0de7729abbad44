"""CamVid: the facts of the real data set, on it where it is at hand and on its names alone everywhere."""

import os
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
from PIL import Image

from tests.data.conftest import save_mask
from vseg_nas.data import CamVid
from vseg_nas.errors import ConfigError, DataError

Build = Callable[..., Path]
Split = Literal["train", "val", "test"]

SEQUENCES = {  # sequence: frames
    "train": {
        "0001TP_06690": 62,
        "0006R0_00930": 101,
        "0016E5_00390": 68,
        "0016E5_04350": 120,
        "0016E5_08190": 16,
    },
    "val": {"0016E5_07959": 101},
    "test": {"0001TP_08550": 62, "Seq05VD_00000": 171},
}


@pytest.fixture(params=["names", "real"])
def root(request: pytest.FixtureRequest, tiny_camvid: Path) -> Path:
    if request.param == "names":
        return tiny_camvid
    if "VSEG_NAS_CAMVID" not in os.environ:
        pytest.skip("VSEG_NAS_CAMVID does not name an unpacked CamVid")
    return Path(os.environ["VSEG_NAS_CAMVID"])


@pytest.mark.parametrize(
    ("split", "frames", "pairs", "triplets", "disjoint"),
    [("train", 367, 362, 357, 120), ("val", 101, 100, 99, 33), ("test", 233, 231, 229, 77)],
)
def test_numbers_of_clips(root: Path, split: Split, frames: int, pairs: int, triplets: int, disjoint: int) -> None:
    assert len(CamVid(root, split, length=1)) == frames
    assert len(CamVid(root, split, length=2)) == pairs
    assert len(CamVid(root, split, length=3)) == triplets
    assert len(CamVid(root, split, length=3, stride=3)) == disjoint


@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_sequences_end_at_cuts_and_missing_frames(root: Path, split: Split) -> None:
    singles = CamVid(root, split, length=1)
    assert Counter(singles.sequences) == SEQUENCES[split]
    for sequence in SEQUENCES[split]:
        frames = [ids[0] for name, ids in zip(singles.sequences, singles.frame_ids, strict=True) if name == sequence]
        assert frames == list(range(SEQUENCES[split][sequence]))


def test_successive_frames_and_disjoint_clips(root: Path) -> None:
    clip = CamVid(root, "train", 3)[62]
    assert clip.names == ("0006R0_f00990", "0006R0_f01020", "0006R0_f01050")
    disjoint = CamVid(root, "train", 3, stride=3)
    assert len(set(zip(disjoint.sequences, disjoint.frame_ids, strict=True))) == 120
    assert disjoint.frame_ids[1] == (3, 4, 5)


def test_real_content() -> None:
    if "VSEG_NAS_CAMVID" not in os.environ:
        pytest.skip("VSEG_NAS_CAMVID does not name an unpacked CamVid")
    source = CamVid(Path(os.environ["VSEG_NAS_CAMVID"]), "val", length=1, stride=10)
    masks = np.stack([source[i].masks[0] for i in range(len(source))])
    assert masks.shape == (11, 360, 480)
    share = {name: float((masks == i).mean()) for i, name in enumerate(source.classes)}
    assert share["road"] == pytest.approx(0.29, abs=0.02)
    assert share["building"] == pytest.approx(0.26, abs=0.03)
    assert (masks == 255).mean() == pytest.approx(0.017, abs=0.01)
    assert set(np.unique(masks)) <= {*range(11), 255}


def test_void_becomes_ignore_and_all_else_stays(tiny_camvid: Path) -> None:
    clip = CamVid(tiny_camvid, "train", 1)[0]
    assert clip.masks[0].ravel()[:13].tolist() == [*range(11), 255, 255]
    assert clip.masks[0].dtype == np.uint8
    with Image.open(tiny_camvid / "train" / "0001TP_006690.png") as image:
        np.testing.assert_array_equal(clip.frames[0], np.asarray(image))


def test_lists_of_absolute_pairs_are_rerooted(camvid_folder: Build) -> None:
    root = camvid_folder()
    plain = CamVid(root, "train", 3)
    lines = [f"/SegNet/CamVid/train/{name}.png /SegNet/CamVid/trainannot/{name}.png" for name in plain[0].names]
    (root / "train.txt").write_text("\n".join(reversed(lines)))
    pairs = CamVid(root, "train", 3)
    assert pairs.fingerprint() == plain.fingerprint()
    assert pairs[0].names == plain[0].names


@pytest.mark.parametrize(
    "line",
    [
        "\ufeff{name}.png",
        "\ufeff/a/train/{name}.png /a/trainannot/{name}.png",
        "/my data/Cam Vid/train/{name}.png /my data/Cam Vid/trainannot/{name}.png",
        '"/my data/train/{name}.png" "/my data/trainannot/{name}.png"',
        "C:\\data\\train\\{name}.png C:\\data\\trainannot\\{name}.png\r",
        "D:\\Cam Vid\\train\\{name}.png\tD:\\Cam Vid\\trainannot\\{name}.png\r",
        "/train/other/train/{name}.png /train/other/trainannot/{name}.png",
        "train/{name}.png trainannot/{name}.png ",
        "/my data/train/{name}.png",
        "{name}.jpg",
        "{name}.PNG",
        "{name}",
        "/a/train/{name}.tif /a/trainannot/{name}.tif",
    ],
)
def test_any_usual_form_of_a_list_is_the_same_data_set(camvid_folder: Build, line: str) -> None:
    root = camvid_folder()
    plain = CamVid(root, "train", 3)
    mark = "\ufeff" if line.startswith("\ufeff") else ""
    lines = [line.removeprefix(mark).format(name=name) for name in plain[0].names]
    (root / "train.txt").write_bytes((mark + "\n".join(lines)).encode())
    listed = CamVid(root, "train", 3)
    assert listed.fingerprint() == plain.fingerprint()
    np.testing.assert_array_equal(listed[0].frames, plain[0].frames)
    np.testing.assert_array_equal(listed[0].masks, plain[0].masks)


def test_a_listed_suffix_that_is_there_is_taken_and_masks_stay_free_of_loss(camvid_folder: Build) -> None:
    root = camvid_folder(["0001TP_000030"])
    Image.new("RGB", (8, 6), (7, 7, 7)).save(root / "train" / "0001TP_000030.bmp")
    assert not (CamVid(root, "train", 1)[0].frames[0] == 7).all()
    (root / "train.txt").write_text("0001TP_000030.bmp\n")
    assert (CamVid(root, "train", 1)[0].frames[0] == 7).all()
    mask = root / "trainannot" / "0001TP_000030.png"
    mask.rename(mask.with_suffix(".jpg"))
    with pytest.raises(DataError, match=r"trainannot/0001TP_000030\.png: file not found"):
        CamVid(root, "train", 1)


def test_jpeg_frames_keep_png_masks(camvid_folder: Build) -> None:
    root = camvid_folder(["0001TP_000030"])
    with Image.open(root / "train" / "0001TP_000030.png") as image:
        image.save(root / "train" / "0001TP_000030.jpg")
    (root / "train.txt").write_text("0001TP_000030.jpg\n")
    assert CamVid(root, "train", 1)[0].frames[0].shape == (6, 8, 3)


@pytest.mark.parametrize(
    ("content", "found"),
    [
        ("", "no sequence of 3 frames"),
        ("0001TP_000030.png\n0001TP_000060.png\n", "no sequence of 3 frames"),
        ("0001TP_000030.png\n0001TP_000030.png\n", "twice"),
        ("0001TP.png\n", "'0001TP.png'"),
        ("/a/train/0001TP_000030.png /a/train/0001TP_000060.png\n", "0001TP_000060"),
        ("/a/val/0001TP_000030.png /a/valannot/0001TP_000030.png\n", "/a/val/"),
        ("0001TP_000030.png\n0001TP_000060.png\n0001TP_000120.png\n", "no sequence of 3 frames"),
    ],
)
def test_unusable_lists(camvid_folder: Build, content: str, found: str) -> None:
    root = camvid_folder()
    (root / "train.txt").write_text(content)
    with pytest.raises(DataError, match=r"train\.txt.*expected") as error:
        CamVid(root, "train", 3)
    assert found in str(error.value)


def test_missing_files_are_named_at_once(camvid_folder: Build) -> None:
    root = camvid_folder()
    (root / "trainannot" / "0001TP_000060.png").unlink()
    with pytest.raises(DataError, match=r"trainannot/0001TP_000060\.png: file not found"):
        CamVid(root, "train", 3)
    with pytest.raises(DataError, match=r"val\.txt"):
        CamVid(root, "val", 3)


def test_impossible_clips(camvid_folder: Build) -> None:
    with pytest.raises(ConfigError, match="length 0"):
        CamVid(camvid_folder(), "train", 0)
    with pytest.raises(ConfigError, match="stride 0"):
        CamVid(camvid_folder(), "train", 3, 0)


def test_fingerprint_follows_files_and_clips(camvid_folder: Build) -> None:
    root = camvid_folder()
    first = CamVid(root, "train", 2)
    assert first.fingerprint() == CamVid(root, "train", 2).fingerprint()
    assert first.fingerprint() != CamVid(root, "train", 1).fingerprint()
    assert first.fingerprint() != CamVid(root, "train", 2, 2).fingerprint()
    before = first.fingerprint()
    os.utime(root / "trainannot" / "0001TP_000060.png", ns=(1, 1))
    assert first.fingerprint() == before
    save_mask(root / "trainannot" / "0001TP_000060.png", [3])
    assert first.fingerprint() != before
