"""Folders of frames: names that tell all apart, order, sizes, pages, rates; and a new video in each folder."""

from __future__ import annotations

import csv
import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image as PillowImage

from tests.video.making import Threshold, grey_ramp
from vseg_nas.errors import DataError
from vseg_nas.pictures import Image
from vseg_nas.video.frame_folder import FrameFolder, as_fraction, frame_files
from vseg_nas.video.key_frames import EveryK
from vseg_nas.video.prediction import predict_video
from vseg_nas.video.writers import frame_table, full_palette, label_maps

LONG = "a" * 240


def save(path: Path, grey: int = 0, size: tuple[int, int] = (48, 64)) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    PillowImage.fromarray(np.full((*size, 3), grey, np.uint8)).save(path)


def save_stack(path: Path, images: list[Image], **options: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    first, *rest = map(PillowImage.fromarray, images)
    first.save(path, save_all=True, append_images=rest, **options)


def means(source: FrameFolder) -> list[int]:
    return [round(float(frame.image.mean())) for frame in source]


def test_suffixes_stay_where_names_would_be_the_same(tmp_path: Path) -> None:
    for name in ("x.png", "x.jpg", "x.bmp", "y.png"):
        save(tmp_path / name)
    assert [frame.name for frame in FrameFolder(str(tmp_path), 10)] == ["x.bmp", "x.jpg", "x.png", "y"]


def test_folders_stay_in_names(tmp_path: Path) -> None:
    for name in ("cam/left/000.png", "cam/right/000.png", "cam/right/in/000.png"):
        save(tmp_path / name)
    names = [frame.name for frame in FrameFolder(str(tmp_path / "cam/**/*.png"), 10)]
    assert names == ["left/000", "right/000", "right/in/000"]
    assert [frame.name for frame in FrameFolder(str(tmp_path / "cam/right/*.png"), 10)] == ["000"]


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("", ["1", "2"]),
        ("*", ["1", "2"]),
        ("?1.png", []),
        ("[.]_1.png", []),
        ("*/*", ["in/3"]),
        ("**/*.png", ["1", "2", "in/3"]),
        (".*.png", ["._1", ".hidden"]),
        ("._[0-9].png", ["._1"]),
        (".hidden.png", [".hidden"]),
        (".trash", ["4"]),
        (".trash/*", ["4"]),
        (".t*/*.png", [".trash/4"]),
    ],
)
def test_hidden_pictures_are_no_frames_unless_they_are_named(tmp_path: Path, source: str, expected: list[str]) -> None:
    """Nor do they take an index in time, as a frame does that is skipped: macOS writes ``._1.png`` beside ``1.png``."""
    for name in ("1.png", "2.png", ".hidden.png", "in/3.png", "in/.3.png", ".trash/4.png", ".trash/._4.png"):
        save(tmp_path / name)
    (tmp_path / "._1.png").write_bytes(b"Mac OS X")
    if not expected:
        with pytest.raises(DataError, match="found no image that matches"):
            frame_files(f"{tmp_path}/{source}")
        return
    assert [str(path).removesuffix(".png").split("/")[-1] for path in frame_files(f"{tmp_path}/{source}")] == [
        name.split("/")[-1] for name in expected
    ]
    if "._1" not in expected:  # which is no picture
        frames = list(folder := FrameFolder(f"{tmp_path}/{source}", 10))
        assert [(frame.name, frame.time) for frame in frames] == [
            (name, Fraction(index, 10)) for index, name in enumerate(expected)
        ]
        assert folder.skipped == 0


def test_a_folder_of_hidden_pictures_has_none(tmp_path: Path) -> None:
    save(tmp_path / ".1.png")
    with pytest.raises(DataError, match="found no image in it"):
        frame_files(str(tmp_path))


@pytest.mark.parametrize(
    "names",
    [
        ["x.png", "x.jpg", "x.bmp", "x.webp"],
        ["left/000.png", "right/000.png"],
        ["a/b/0.png", "a_b/0.png", "a/b_0.png", "a_b_0.png"],
        ["X.png", "x.jpg"],
        ["stack.tif", "stack/000000.png"],
        ["x.jpg", "x.png/0.png"],
        ["x.png.bmp", "x.png", "x.jpg"],
        [f"{LONG}one.png", f"{LONG}two.png", f"{LONG}one.jpg"],
        [f"{LONG}one/0.png", f"{LONG}two/0.png"],
        ["1.png", "01.png", "001.png"],
        ["a\nb.png", "a b.png", "a,b.png", '"ab".png', "a\\b.png"],
        [os.fsdecode(b"\xff.png"), os.fsdecode(b"\xfe.png"), "ü.png"],
    ],
)
def test_every_frame_has_a_map_and_a_row_of_its_own(tmp_path: Path, names: list[str]) -> None:
    source_dir = tmp_path / "source"
    for index, name in enumerate(names):
        if name == "stack.tif":
            save_stack(source_dir / name, grey_ramp(3))
        else:
            save(source_dir / name, 255 * (index % 2))
    source = FrameFolder(f"{source_dir}/**/*", 10)
    with (
        frame_table(tmp_path / "frames.csv") as row,
        label_maps(tmp_path / "labels", full_palette(((0, 0, 0),))) as png,
    ):
        done = list(predict_video(source, Threshold(), EveryK(None)))
        for one in done:
            row(one)
            png(one)
    assert (len(done), source.skipped) == (source.total, 0)
    written = [path for path in (tmp_path / "labels").rglob("*") if path.is_file()]
    assert len(written) == source.total
    for one in done:
        stored = np.asarray(PillowImage.open(tmp_path / "labels" / f"{one.frame.name}.png"))
        assert np.array_equal(stored, one.labels)
    rows = list(csv.DictReader((tmp_path / "frames.csv").open(newline="", encoding="utf-8")))
    assert len({entry["name"] for entry in rows}) == len(rows) == source.total


def test_a_pattern_that_climbs_out_is_refused(tmp_path: Path) -> None:
    save(tmp_path / "cam/left/0.png")
    save(tmp_path / "out/0.png")
    with pytest.raises(DataError, match=r"found \.\. after a wildcard"):
        FrameFolder(f"{tmp_path}/cam/*/../../out/*.png", 10)


def test_folders_and_files_are_in_the_order_of_their_numbers(tmp_path: Path) -> None:
    ordered = [f"run_{run}/f_{frame}.png" for run in (2, 9, 10) for frame in (1, 9, 10)]
    for name in reversed(ordered):
        save(tmp_path / name)
    files = frame_files(f"{tmp_path}/**/*.png")
    assert [str(path.relative_to(tmp_path)) for path in files] == ordered


def test_files_of_folders_whose_numbers_are_the_same_do_not_mix(tmp_path: Path) -> None:
    for name in ("f_1/0.png", "f_01/0.png", "f_1/1.png", "f_01/1.png"):
        save(tmp_path / name)
    folders = [path.parent.name for path in frame_files(f"{tmp_path}/*/*.png")]
    assert folders in (["f_1", "f_1", "f_01", "f_01"], ["f_01", "f_01", "f_1", "f_1"])


class Counting(Threshold):
    def __init__(self) -> None:
        super().__init__()
        self.resets = 0

    def reset(self) -> None:
        self.resets += 1


def test_each_folder_is_a_video_of_its_own(tmp_path: Path) -> None:
    for name, grey in (("a/0", 0), ("a/1", 255), ("b/0", 0), ("b/1", 0)):
        save(tmp_path / f"{name}.png", grey)
    save_stack(tmp_path / "b/2.tif", [np.full((48, 64, 3), grey, np.uint8) for grey in (255, 255, 0)])
    predictor = Counting()
    done = list(predict_video(FrameFolder(f"{tmp_path}/**/*", 10), predictor, EveryK(None)))
    assert [one.frame.name for one in done] == ["a/0", "a/1", "b/0", "b/1", "b/2/000000", "b/2/000001", "b/2/000002"]
    assert [one.key for one in done] == [True, False, True, False, True, False, False]
    assert [one.changed for one in done] == [None, 1.0, None, 0.0, None, 0.0, 1.0]
    assert predictor.resets == 3
    assert [one.frame.time for one in done] == [Fraction(index, 10) for index in range(7)]


def test_key_frames_are_counted_from_the_first_of_a_folder(tmp_path: Path) -> None:
    for name in ("a/0", "a/1", "b/0", "b/1", "b/2", "b/3"):
        save(tmp_path / f"{name}.png")
    done = predict_video(FrameFolder(f"{tmp_path}/**/*", 10), Threshold(), EveryK(3))
    assert [one.key for one in done] == [True, False, True, False, False, True]


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("s.tif", {}),
        ("s.tiff", {"compression": "tiff_lzw"}),
        ("s.png", {}),
        ("s.webp", {"lossless": True}),
        ("gif.png", {"format": "GIF"}),
    ],
)
def test_all_pages_are_frames(tmp_path: Path, name: str, options: dict[str, Any]) -> None:
    images = grey_ramp(5)
    save_stack(tmp_path / name, images, **options)
    source = FrameFolder(str(tmp_path), 10)
    assert source.total == 5
    frames = list(source)
    stem = Path(name).stem
    assert [frame.name for frame in frames] == [f"{stem}/{page:06}" for page in range(5)]
    np.testing.assert_allclose([f.image.mean() for f in frames], [i.mean() for i in images], atol=1)


def test_previews_are_no_frames(tmp_path: Path) -> None:
    """Those of phones in JPEG files, and copies of reduced resolution in TIFF files."""
    large, small = grey_ramp(1)[0], np.full((24, 32, 3), 99, np.uint8)
    save_stack(tmp_path / "a.jpg", [large, small], format="MPO")
    pages = [PillowImage.fromarray(image) for image in (large, small)]
    pages[1].encoderinfo = {"tiffinfo": {254: 1}}
    pages[0].save(tmp_path / "b.tif", save_all=True, append_images=pages[1:])
    source = FrameFolder(str(tmp_path), 10)
    assert [frame.name for frame in source] == ["a", "b"]
    assert source.skipped == 0


def test_a_stack_that_is_cut_off_gives_what_is_left(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    save_stack(tmp_path / "s.tif", [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(6)])
    content = (tmp_path / "s.tif").read_bytes()
    (tmp_path / "s.tif").write_bytes(content[: len(content) // 2])
    source = FrameFolder(str(tmp_path), 10)
    assert 1 <= len(list(source)) <= 3
    assert source.skipped >= 1
    assert "s.tif" in source.first_error


@pytest.mark.parametrize("odd", [0, 1, 20])
def test_the_usual_size_counts(tmp_path: Path, odd: int) -> None:
    for index in range(21):
        save(tmp_path / f"{index}.png", index, (24, 30) if index == odd else (48, 64))
    source = FrameFolder(str(tmp_path), 10)
    assert source.size == (48, 64)
    assert means(source) == [index for index in range(21) if index != odd]
    assert source.skipped == 1
    assert f"{odd}.png: found 30x24 pixels, expected 64x48 as most" in source.first_error


def _first_of_two(folder: Path) -> None:
    for index, size in enumerate([(24, 32), (48, 64), (48, 64), (24, 32)]):
        save(folder / f"{index}.png", size=size)


def _lying(folder: Path) -> None:
    """Photos taken upright and on the side: stored alike, shown unlike."""
    for index, orientation in enumerate([6, 1, 6]):
        exif = PillowImage.Exif()
        exif[0x0112] = orientation
        PillowImage.fromarray(np.zeros((32, 24, 3), np.uint8)).save(folder / f"{index}.jpg", exif=exif)


def _small_first_page(folder: Path) -> None:
    save_stack(folder / "s.tif", [np.zeros((8, 8, 3), np.uint8), *[np.zeros((24, 32, 3), np.uint8)] * 3])


def _damaged_header(folder: Path) -> None:
    (folder / "0.png").write_bytes(b"no picture")
    for index in (1, 2):
        save(folder / f"{index}.png", size=(24, 32))


@pytest.mark.parametrize(
    ("make", "used", "skipped"),
    [(_first_of_two, 2, 2), (_lying, 2, 1), (_small_first_page, 3, 1), (_damaged_header, 2, 1)],
)
def test_which_size_is_usual(tmp_path: Path, make: Callable[[Path], None], used: int, skipped: int) -> None:
    make(tmp_path)
    source = FrameFolder(str(tmp_path), 10)
    assert source.size == (24, 32)
    assert len(list(source)) == used
    assert source.skipped == skipped


def test_a_complaint_can_be_printed_whatever_the_name(tmp_path: Path) -> None:
    save(tmp_path / "0.png")
    (tmp_path / os.fsdecode(b"\xff.png")).write_bytes(b"damaged")
    source = FrameFolder(str(tmp_path), 10)
    assert len(list(source)) == 1
    assert r"\udcff.png" in source.first_error
    source.first_error.encode()


def test_only_damaged_images_are_one_line(tmp_path: Path) -> None:
    """Their headers can be read, their pixels cannot."""
    for index in range(2):
        save(tmp_path / f"{index}.png")
        (tmp_path / f"{index}.png").write_bytes((tmp_path / f"{index}.png").read_bytes()[:50])
    with pytest.raises(DataError, match=r"found 2 image files, none of them usable; the first: .*0\.png"):
        FrameFolder(str(tmp_path), 10)


@pytest.mark.parametrize(
    ("rate", "expected"),
    [
        (10.0, Fraction(10)),
        (12.5, Fraction(25, 2)),
        (29.97, Fraction(2997, 100)),
        (23.976023976, Fraction(24000, 1001)),
        (0.0002777, Fraction(2777, 10_000_000)),
        (1 / 3600, Fraction(1, 3600)),
        (0.3333333333, Fraction(1, 3)),
        (0.0001, Fraction(1, 10_000)),
        (1000.0, Fraction(1000)),
    ],
)
def test_a_rate_is_the_simplest_fraction(rate: float, expected: Fraction) -> None:
    assert as_fraction(rate) == expected
