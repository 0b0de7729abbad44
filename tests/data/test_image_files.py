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
