"""How frames are shown: turned, mirrored, with pixels that are not square, in the table and in the overlay."""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image as PillowImage

from tests.video.making import bright_corner, grey_ramp, write_video
from vseg_nas.pictures import Image
from vseg_nas.video.overlay import VideoWriter
from vseg_nas.video.stream import VideoStream

ONE = 1 << 16

# By EXIF's number: the matrix (a, b, c, d) and what Pillow calls the same.
ORIENTATIONS: dict[int, tuple[tuple[int, int, int, int], PillowImage.Transpose | None]] = {
    1: ((1, 0, 0, 1), None),
    2: ((-1, 0, 0, 1), PillowImage.Transpose.FLIP_LEFT_RIGHT),
    3: ((-1, 0, 0, -1), PillowImage.Transpose.ROTATE_180),
    4: ((1, 0, 0, -1), PillowImage.Transpose.FLIP_TOP_BOTTOM),
    5: ((0, 1, 1, 0), PillowImage.Transpose.TRANSPOSE),
    6: ((0, 1, -1, 0), PillowImage.Transpose.ROTATE_270),
    7: ((0, -1, -1, 0), PillowImage.Transpose.TRANSVERSE),
    8: ((0, -1, 1, 0), PillowImage.Transpose.ROTATE_90),
}


def _matrix(a: float, b: float, c: float, d: float) -> list[int]:
    return [round(a * ONE), round(b * ONE), 0, round(c * ONE), round(d * ONE), 0, 0, 0, 1 << 30]


def _shown(stored: Image, how: PillowImage.Transpose | None) -> Image:
    return stored if how is None else np.asarray(PillowImage.fromarray(stored).transpose(how))


def _overlay(source: VideoStream, path: Path) -> VideoStream:
    writer = VideoWriter(path, source.size, source.rate, source.time_base, source.pixel_aspect)
    for frame in source:
        writer.write(frame.image, frame.time)
    writer.close()
    return VideoStream(str(path))


def _same(source: VideoStream, expected: Image) -> None:
    assert source.size == expected.shape[:2]
    frames = list(source)
    assert len(frames) == 3
    for frame in frames:
        assert frame.image.shape == expected.shape
        assert np.abs(frame.image.astype(int) - expected).mean() < 4


@pytest.mark.parametrize("number", ORIENTATIONS)
@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
def test_all_eight_orientations_come_upright(tmp_path: Path, number: int, suffix: str) -> None:
    (a, b, c, d), how = ORIENTATIONS[number]
    stored = bright_corner()
    path = write_video(tmp_path / f"a{suffix}", [stored] * 3, matrix=_matrix(a, b, c, d))
    expected = _shown(stored, how)
    source = VideoStream(str(path))
    _same(source, expected)
    _same(_overlay(VideoStream(str(path)), tmp_path / "o.mp4"), expected)


@pytest.mark.parametrize(
    ("matrix", "number"),
    [
        ((0.99, 0.14, -0.14, 0.99), 1),  # eight degrees
        ((-0.14, 0.99, 0.99, 0.14), 5),  # mirrored, and eight degrees off
        ((-3.0, 0, 0, 3.0), 2),  # and larger
        ((0, 0, 0, 0), 1),
        ((1, 0, 1, 0), 1),  # a line
    ],
)
def test_the_nearest_orientation_is_taken(tmp_path: Path, matrix: Sequence[float], number: int) -> None:
    stored = bright_corner()
    path = write_video(tmp_path / "a.mp4", [stored] * 3, matrix=_matrix(*matrix))
    _same(VideoStream(str(path)), _shown(stored, ORIENTATIONS[number][1]))


@pytest.mark.parametrize("suffix", [".mp4", ".ts", ".mkv", ".h264", ".avi"])
@pytest.mark.parametrize("aspect", [Fraction(16, 11), Fraction(8, 9)])
def test_pixels_that_are_not_square_stay_so(tmp_path: Path, suffix: str, aspect: Fraction) -> None:
    source = VideoStream(str(write_video(tmp_path / f"a{suffix}", grey_ramp(6), aspect=aspect)))
    assert source.pixel_aspect == aspect
    assert _overlay(source, tmp_path / "o.mp4").pixel_aspect == aspect
    with av.open(str(tmp_path / "o.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == aspect


@pytest.mark.parametrize(("number", "expected"), [(6, Fraction(11, 16)), (7, Fraction(11, 16)), (4, Fraction(16, 11))])
def test_the_pixels_are_turned_with_the_frame(tmp_path: Path, number: int, expected: Fraction) -> None:
    matrix = _matrix(*ORIENTATIONS[number][0])
    source = VideoStream(str(write_video(tmp_path / "a.mp4", grey_ramp(6), matrix=matrix, aspect=Fraction(16, 11))))
    assert source.pixel_aspect == expected
    assert _overlay(source, tmp_path / "o.mp4").pixel_aspect == expected


def test_square_pixels_are_said_to_be_square(tmp_path: Path) -> None:
    source = VideoStream(str(write_video(tmp_path / "a.mp4", grey_ramp(6))))
    assert source.pixel_aspect == 1
    assert _overlay(source, tmp_path / "o.mp4").pixel_aspect == 1


def test_frames_of_another_size_have_the_pixels_of_the_first(tmp_path: Path) -> None:
    """Two broadcasts in a row, the second anamorphic."""
    one = write_video(tmp_path / "a.ts", grey_ramp(5), aspect=Fraction(1))
    other = write_video(tmp_path / "b.ts", grey_ramp(5, (48, 48)), aspect=Fraction(4, 3))
    (tmp_path / "ab.ts").write_bytes(one.read_bytes() + other.read_bytes())
    source = VideoStream(str(tmp_path / "ab.ts"))
    assert source.size == (48, 64)
    assert source.pixel_aspect == 1
    assert [frame.image.shape[:2] for frame in source] == [(48, 64)] * 10
