"""Damaged or wrong frames and masks end in one line that names the file."""

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from vseg_nas.data import CamVid
from vseg_nas.errors import DataError

Build = Callable[..., Path]
NAME = "0001TP_000060.png"


def read_all(root: Path) -> None:
    source = CamVid(root, "train", 1)
    for i in range(len(source)):
        source[i]


def complaint(root: Path) -> str:
    with pytest.raises(DataError) as error:
        read_all(root)
    message = str(error.value)
    assert "\n" not in message
    assert "found" in message
    assert "expected" in message
    return message


def test_unknown_label(camvid_folder: Build) -> None:
    root = camvid_folder()
    Image.fromarray(np.full((6, 8), 12, np.uint8)).save(root / "trainannot" / NAME)
    assert complaint(root) == f"{root}/trainannot/{NAME}: found label id 12, expected 0 to 11, or 255"


@pytest.mark.parametrize(
    ("folder", "shape", "found"),
    [
        ("trainannot", (5, 8), "found 8x5 pixels, expected 8x6"),
        ("train", (6, 9, 3), "found 9x6 pixels, expected 8x6"),
        ("trainannot", (6, 8, 3), "found image mode RGB, expected L or P"),
        ("train", (6, 8), "found image mode L, expected RGB"),
        ("train", (6, 8, 4), "found image mode RGBA, expected RGB"),
    ],
)
def test_wrong_size_or_mode(camvid_folder: Build, folder: str, shape: tuple[int, ...], found: str) -> None:
    root = camvid_folder()
    Image.fromarray(np.zeros(shape, np.uint8)).save(root / folder / NAME)
    assert complaint(root) == f"{root}/{folder}/{NAME}: {found}"


@pytest.mark.parametrize(("orientation", "quarters"), [(3, 2), (6, 1), (8, 3)])
def test_frames_and_masks_are_turned_upright(camvid_folder: Build, orientation: int, quarters: int) -> None:
    """A camera stores a frame turned and says so; a mask is stored upright, or turned and says so too."""
    root = camvid_folder()
    plain = CamVid(root, "train", 1)[1]
    exif = Image.Exif()
    exif[0x0112] = orientation
    for folder, upright in (("train", plain.frames[0]), ("trainannot", plain.masks[0])):
        Image.fromarray(np.rot90(upright, quarters).copy()).save(root / folder / NAME, exif=exif)
        turned = CamVid(root, "train", 1)[1]
        np.testing.assert_array_equal(turned.frames[0], plain.frames[0])
        np.testing.assert_array_equal(turned.masks[0], plain.masks[0])


def test_a_turned_frame_whose_mask_is_not_is_refused(camvid_folder: Build) -> None:
    root = camvid_folder()
    exif = Image.Exif()
    exif[0x0112] = 6
    for path in sorted((root / "train").iterdir()):
        with Image.open(path) as image:
            image.save(path, exif=exif)
    first = root / "trainannot" / "0001TP_000030.png"
    assert complaint(root) == f"{first}: found 8x6 pixels, expected 6x8"


def test_more_pixels_than_allowed_is_one_line(camvid_folder: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    root = camvid_folder()
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 40)
    first = root / "train" / "0001TP_000030.png"
    assert complaint(root) == f"{first}: found 8x6 pixels, expected at most 40 in all"
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 20)
    assert complaint(root) == f"{first}: found too many pixels, expected at most 20"


@pytest.mark.parametrize("content", [b"", b"GIF89a", b"\x89PNG\r\n\x1a\n", b"not an image"])
@pytest.mark.parametrize("first", [True, False])
def test_no_image(camvid_folder: Build, content: bytes, first: bool) -> None:
    root = camvid_folder()
    name = "0001TP_000030.png" if first else NAME
    (root / "train" / name).write_bytes(content)
    assert complaint(root).startswith(f"{root}/train/{name}: found a damaged image")


def test_folder_instead_of_file_vanished_file(camvid_folder: Build) -> None:
    root = camvid_folder()
    source = CamVid(root, "train", 1)
    (root / "train" / NAME).unlink()
    with pytest.raises(DataError, match="no readable file"):
        source[1]
    assert "file not found" in complaint(root)
    (root / "train" / NAME).mkdir()
    assert "no readable file" in complaint(root)


def test_no_damage_goes_unnoticed(camvid_folder: Build) -> None:
    """Bit flips, cuts and zeroed stretches either change nothing or are refused."""
    root = camvid_folder(["0001TP_000030"])
    rng = np.random.default_rng(0)
    mask = root / "trainannot" / "0001TP_000030.png"
    buffer = io.BytesIO()
    patches = np.kron(rng.integers(0, 12, (15, 20)), np.ones((8, 8)))  # compresses as real masks do
    Image.fromarray(patches.astype(np.uint8)).save(buffer, "PNG")
    Image.new("RGB", (160, 120)).save(root / "train" / "0001TP_000030.png")
    whole = buffer.getvalue()
    mask.write_bytes(whole)
    source = CamVid(root, "train", 1)
    truth = source[0].masks[0]
    refused = 0
    for i in range(120):
        data = bytearray(whole)
        place = int(rng.integers(len(data)))
        match i % 6:
            case 0:
                del data[place:]
            case 1:
                data[place : place + 16] = bytes(len(data[place : place + 16]))
            case _:
                data[place] ^= 1 << int(rng.integers(8))
        mask.write_bytes(data)
        try:
            read = source[0].masks[0]
        except DataError:
            refused += 1
        else:
            np.testing.assert_array_equal(read, truth)
    assert refused > 110
