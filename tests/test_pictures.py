"""One grey value and one corner, in every kind of file: read as the same picture in 8 bits, upright, or refused."""

from __future__ import annotations

import io
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image, TiffImagePlugin

from vseg_nas.errors import DataError
from vseg_nas.pictures import load_upright, read_pages
from vseg_nas.video.frame_folder import FrameFolder

HEIGHT, WIDTH = 6, 8
GREYS = np.array([[0, 86, 255, 200, 1, 128, 17, 254]] * HEIGHT, np.uint8)
COLOURS = np.dstack([GREYS, 255 - GREYS, np.full_like(GREYS, 86)])
AS_RGB = np.dstack([GREYS] * 3)
ORIENTATION = 0x0112

Array = NDArray[Any]


def read_rgb(path: Path) -> Array:
    """The first picture of a file."""
    (picture,) = read_pages(path, [0])
    assert not isinstance(picture, DataError), picture
    return picture


def wide(values: Array) -> Array:
    """The same picture in 16 bits."""
    return values.astype(np.uint16) * np.uint16(257)


def by_pillow(mode: str, values: Array, **options: Any) -> Callable[[Path], None]:
    def save(path: Path) -> None:
        image = Image.fromarray(values)
        assert image.mode == mode
        image.save(path, **options)

    return save


def by_opencv(values: Array) -> Callable[[Path], object]:
    return lambda path: path.write_bytes(cv2.imencode(path.suffix, values)[1].tobytes())


def converted(mode: str, values: Array) -> Callable[[Path], None]:
    return lambda path: Image.fromarray(values).convert(mode).save(path)


def white_is_zero(values: Array) -> Callable[[Path], None]:
    """A grey TIFF whose values count down from white."""

    def save(path: Path) -> None:
        tags = TiffImagePlugin.ImageFileDirectory_v2()
        tags[262] = 0
        Image.fromarray(values).save(path, tiffinfo=tags)
        content = bytearray(path.read_bytes())
        entry = struct.pack("<HHI", 262, 3, 1)
        assert content.count(entry) == 1
        at = content.index(entry) + 8
        content[at : at + 2] = struct.pack("<H", 0)
        path.write_bytes(content)

    return save


def png(path: Path, bits: int, colour: int, values: Array) -> None:
    """A PNG file of any number of bits; values (H, W, channels) are as stored."""
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], bits, colour, 0, 0, 0)
    rows = b"".join(b"\0" + row.astype(f">u{bits // 8}").tobytes() for row in values)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b""))
    path.write_bytes(
        b"\x89PNG\r\n\x1a\n"
        + b"".join(struct.pack(">I", len(c)) + k + c + struct.pack(">I", zlib.crc32(k + c)) for k, c in chunks)
    )


def with_alpha(values: Array) -> Array:
    return np.dstack([values, np.full_like(values[..., :1], np.iinfo(values.dtype).max // 2)])


def palette(path: Path) -> None:
    image = Image.fromarray(GREYS).convert("P")
    image.save(path, transparency=bytes([0, 128]))


KINDS: dict[str, tuple[str, Callable[[Path], object], Array]] = {
    "grey 16 PNG": ("png", by_pillow("I;16", wide(GREYS)), AS_RGB),
    "grey 16 TIFF": ("tif", by_pillow("I;16", wide(GREYS)), AS_RGB),
    "grey 16 TIFF, big-endian": ("tiff", by_pillow("I;16B", wide(GREYS).astype(">u2")), AS_RGB),
    "grey 16 TIFF, deflate": ("tif", by_pillow("I;16", wide(GREYS), compression="tiff_adobe_deflate"), AS_RGB),
    "grey 16 TIFF, white is zero": ("tif", white_is_zero(wide(255 - GREYS)), AS_RGB),
    "grey 16 PNG with alpha": ("png", lambda path: png(path, 16, 4, with_alpha(wide(GREYS[..., None]))), AS_RGB),
    "RGB 16 PNG": ("png", by_opencv(wide(COLOURS[..., ::-1])), COLOURS),
    "RGB 16 TIFF": ("tif", by_opencv(wide(COLOURS[..., ::-1])), COLOURS),
    "RGBA 16 PNG": ("png", lambda path: png(path, 16, 6, with_alpha(wide(COLOURS))), COLOURS),
    "float TIFF": ("tif", by_pillow("F", (GREYS / 255).astype(np.float32)), AS_RGB),
    "grey PNG": ("png", by_pillow("L", GREYS), AS_RGB),
    "grey PNG with alpha": ("png", by_pillow("LA", with_alpha(GREYS[..., None])), AS_RGB),
    "RGBA PNG": ("png", by_pillow("RGBA", with_alpha(COLOURS)), COLOURS),
    "RGBA WebP": ("webp", by_pillow("RGBA", with_alpha(COLOURS), lossless=True), COLOURS),
    "palette PNG with alpha": ("png", palette, AS_RGB),
    "CMYK TIFF": ("tif", converted("CMYK", COLOURS), COLOURS),
    "1-bit PNG": ("png", lambda path: Image.fromarray(GREYS > 100).save(path), np.dstack([(GREYS > 100) * 255] * 3)),
    "BMP": ("bmp", by_pillow("RGB", COLOURS), COLOURS),
}


@pytest.mark.parametrize("kind", KINDS)
def test_any_kind_is_the_picture_in_8_bits(tmp_path: Path, kind: str, recwarn: pytest.WarningsRecorder) -> None:
    suffix, save, expected = KINDS[kind]
    save(tmp_path / f"0.{suffix}")
    (frame,) = FrameFolder(str(tmp_path), 10)
    np.testing.assert_array_equal(frame.image, expected)
    assert frame.image.dtype == np.uint8
    assert [str(warning.message) for warning in recwarn] == []


@pytest.mark.parametrize(
    ("values", "found"),
    [
        (GREYS.astype(np.float32), "found floating point values 0 to 255, expected 0 to 1"),
        (np.full((HEIGHT, WIDTH), np.nan, np.float32), "found floating point values nan"),
        (GREYS.astype(np.int32), "found integers of 32 bits or with a sign, expected 8 or 16 bits"),
    ],
)
def test_a_picture_without_a_known_white_is_one_line(tmp_path: Path, values: Array, found: str) -> None:
    Image.fromarray(values).save(tmp_path / "0.tif")
    with pytest.raises(DataError) as error:
        FrameFolder(str(tmp_path), 10)
    assert found in str(error.value)
    assert f"source: {tmp_path}: found 1 image files, none of them usable" in str(error.value)
    Image.fromarray(COLOURS).save(tmp_path / "1.png")
    source = FrameFolder(str(tmp_path), 10)
    assert [frame.name for frame in source] == ["1"]
    assert (source.skipped, source.first_error.partition(": ")[0]) == (1, str(tmp_path / "0.tif"))


def stored_for(orientation: int, upright: Array) -> Array:
    """How a camera that notes this orientation stores a picture, after the table of the EXIF standard."""
    stored: dict[int, Callable[[Array], Array]] = {
        1: lambda a: a,
        2: lambda a: a[:, ::-1],
        3: lambda a: a[::-1, ::-1],
        4: lambda a: a[::-1],
        5: lambda a: a.swapaxes(0, 1),
        6: lambda a: a.swapaxes(0, 1)[::-1],
        7: lambda a: a[::-1, ::-1].swapaxes(0, 1),
        8: lambda a: a.swapaxes(0, 1)[:, ::-1],
    }
    return stored[orientation](upright)


def save_turned(path: Path, orientation: int, upright: Array) -> None:
    image = Image.fromarray(np.ascontiguousarray(stored_for(orientation, upright)))
    exif = Image.Exif()
    exif[ORIENTATION] = orientation
    options: dict[str, Any] = {"lossless": True} if path.suffix == ".webp" else {}
    if path.suffix == ".jpg":
        options = {"quality": 95, "subsampling": 0}
    image.save(path, exif=exif, **options)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("suffix", ["jpg", "png", "tif", "webp"])
def test_every_orientation_comes_upright(tmp_path: Path, orientation: int, suffix: str) -> None:
    upright = np.kron(np.array([[0, 80, 160, 255], [200, 40, 120, 20]], np.uint8), np.ones((16, 8), np.uint8))
    upright = np.dstack([upright, 255 - upright, upright])  # no two of the eight look alike
    save_turned(tmp_path / f"0.{suffix}", orientation, upright)
    source = FrameFolder(str(tmp_path), 10)
    (frame,) = source
    assert source.size == upright.shape[:2]
    assert frame.image.shape == upright.shape
    assert np.abs(frame.image.astype(int) - upright).max() <= (24 if suffix == "jpg" else 0)


def chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


EXIF_6 = b"MM\0*\0\0\0\x08\0\1\1\x12\0\3\0\0\0\1\0\6\0\0\0\0\0\0"
XMP_6 = b'<x tiff:Orientation="6"/>'
ORIENTING_CHUNKS = {
    "EXIF": chunk(b"eXIf", EXIF_6),
    "XMP": chunk(b"iTXt", b"XML:com.adobe.xmp\0\0\0\0\0" + XMP_6),
    "raw profile": chunk(
        b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\nexif\n 32\n" + (b"Exif\0\0" + EXIF_6).hex().encode())
    ),
}


@pytest.mark.parametrize("behind", [False, True])
@pytest.mark.parametrize("orienting", ORIENTING_CHUNKS)
def test_the_orientation_of_a_png_file_counts_wherever_it_stands(tmp_path: Path, orienting: str, behind: bool) -> None:
    plain = io.BytesIO()
    Image.fromarray(COLOURS).save(plain, "PNG")
    content = plain.getvalue()
    at = content.index(b"IEND" if behind else b"IDAT") - 4
    (tmp_path / "0.png").write_bytes(content[:at] + ORIENTING_CHUNKS[orienting] + content[at:])
    source = FrameFolder(str(tmp_path), 10)
    (frame,) = source
    assert source.size == (WIDTH, HEIGHT)
    assert source.skipped == 0
    np.testing.assert_array_equal(frame.image, np.rot90(COLOURS, -1))


def test_16_bits_come_upright_too(tmp_path: Path) -> None:
    save_turned(tmp_path / "0.png", 6, wide(GREYS))
    np.testing.assert_array_equal(read_rgb(tmp_path / "0.png"), AS_RGB)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    "exif", [b"", b"Exif\0\0", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08\0\1\1\x12"]
)
def test_damaged_exif_data_do_not_make_a_picture_unreadable(tmp_path: Path, exif: bytes) -> None:
    Image.fromarray(COLOURS).save(tmp_path / "0.png", exif=exif)
    np.testing.assert_array_equal(read_rgb(tmp_path / "0.png"), COLOURS)


@pytest.mark.parametrize("megapixels", [100, 400])
def test_more_pixels_than_pillow_allows_is_one_line(tmp_path: Path, megapixels: int) -> None:
    """Pillow warns of the first and refuses the second."""
    side = int((megapixels * 1e6) ** 0.5)
    png(tmp_path / "1.png", 8, 0, np.zeros((1, side), np.uint8))
    content = bytearray((tmp_path / "1.png").read_bytes())
    content[20:24] = struct.pack(">I", side)
    content[29:33] = struct.pack(">I", zlib.crc32(content[12:29]))
    (tmp_path / "1.png").write_bytes(content)
    for name in ("0", "2"):
        Image.fromarray(COLOURS).save(tmp_path / f"{name}.png")
    code = f"""if True:
        from vseg_nas.video.frame_folder import FrameFolder
        source = FrameFolder({str(tmp_path)!r}, 10)
        print([frame.name for frame in source], source.skipped, source.first_error)"""
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stderr == ""
    assert run.stdout.startswith(f"['0', '2'] 1 {tmp_path}/1.png: found ")
    assert "pixels, expected at most 89478485" in run.stdout


@pytest.mark.filterwarnings("ignore")
def test_no_damage_escapes(tmp_path: Path) -> None:
    """Whatever byte is hit, a picture is read or refused in one line."""
    rng = np.random.default_rng(0)
    complaints = []
    for suffix in ("png", "jpg", "tif", "webp", "bmp"):
        whole = io.BytesIO()
        exif = Image.Exif()
        exif[ORIENTATION] = 6
        Image.fromarray(COLOURS).save(whole, {"jpg": "JPEG", "tif": "TIFF"}.get(suffix, suffix.upper()), exif=exif)
        for _ in range(60):
            data = bytearray(whole.getvalue())
            data[int(rng.integers(min(len(data), 200)))] ^= 1 << int(rng.integers(8))
            try:
                load_upright(tmp_path / "x", bytes(data))
            except DataError as error:
                complaints.append(str(error))
    assert len(complaints) > 60
    assert not any("\n" in complaint for complaint in complaints)
