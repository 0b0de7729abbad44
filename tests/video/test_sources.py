"""Files as they come: turned, of varying rate, damaged, empty. Every one is made here, so what is in it is known."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image as PillowImage

from tests.video.making import bright_corner, grey_ramp, write_video
from vseg_nas.errors import DataError
from vseg_nas.video.frame_folder import FrameFolder
from vseg_nas.video.stream import VideoStream


def means(source: VideoStream | FrameFolder) -> list[float]:
    return [float(frame.image.mean()) for frame in source]


def test_frames_come_in_order_with_their_times(tmp_path: Path) -> None:
    images = grey_ramp(10)
    source = VideoStream(str(write_video(tmp_path / "a.mp4", images, rate=20)))
    assert (source.size, source.rate, source.total, source.endless) == ((48, 64), Fraction(20), 10, False)
    frames = list(source)
    assert [frame.time for frame in frames] == [Fraction(i, 20) for i in range(10)]
    assert [frame.name for frame in frames[:2]] == ["000000", "000001"]
    np.testing.assert_allclose([f.image.mean() for f in frames], [i.mean() for i in images], atol=3)
    assert source.skipped == 0


@pytest.mark.parametrize(("degrees", "turns"), [(90, 1), (180, 2), (-90, 3)])
def test_a_turned_file_comes_upright(tmp_path: Path, degrees: int, turns: int) -> None:
    """As a phone does it: the pixels lie as the sensor has them, the file says by how much to turn them."""
    stored = bright_corner()
    source = VideoStream(str(write_video(tmp_path / "a.mp4", [stored] * 3, rotation=degrees)))
    expected = np.rot90(stored, turns)  # anti-clockwise, as set_display_rotation says
    assert source.size == expected.shape[:2]
    for frame in source:
        assert frame.image.shape == expected.shape
        assert np.abs(frame.image.astype(int) - expected).mean() < 4


def test_a_varying_rate_keeps_the_times(tmp_path: Path) -> None:
    ticks = [0, 10, 200, 210, 700, 1500]
    source = VideoStream(str(write_video(tmp_path / "a.mp4", grey_ramp(6), ticks=ticks)))
    assert [frame.time for frame in source] == [Fraction(tick, 1000) for tick in ticks]


def _packets(path: Path) -> list[tuple[int, int]]:
    """Position and size of each packet in the file."""
    with av.open(str(path)) as container:
        return [(p.pos, p.size) for p in container.demux(video=0) if p.size and p.pos is not None]


@pytest.mark.parametrize("byte", [0x00, 0xFF])
def test_damaged_frames_are_skipped_and_counted(tmp_path: Path, byte: int) -> None:
    """The decoder refuses some, and makes others up and says so: both are left out."""
    images = grey_ramp(20)
    path = write_video(tmp_path / "a.mp4", images, gop=1)
    content = bytearray(path.read_bytes())
    for index in (4, 9):
        position, size = _packets(path)[index]
        content[position + 8 : position + size] = bytes([byte]) * (size - 8)
    path.write_bytes(content)
    source = VideoStream(str(path))
    found = means(source)
    left = [image.mean() for index, image in enumerate(images) if index not in (4, 9)]
    np.testing.assert_allclose(found, left, atol=3)
    assert source.skipped == 2
    assert str(path) in source.first_error


def test_a_file_cut_off_gives_what_is_left(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (48, 64, 3), dtype=np.uint8) for _ in range(40)]
    path = write_video(tmp_path / "a.ts", images, gop=4)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    count = len(list(VideoStream(str(path))))
    assert 10 < count < 30


@pytest.mark.parametrize("content", [b"", b"no video at all" * 100])
def test_what_is_no_video_is_one_line(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "a.mp4"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"source: .*a\.mp4: cannot be read as video"):
        VideoStream(str(path))


def test_sound_alone_is_one_line(tmp_path: Path) -> None:
    path = tmp_path / "a.wav"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("pcm_s16le", rate=8000)
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 800), np.int16), format="s16", layout="mono")
        frame.sample_rate = 8000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    with pytest.raises(DataError, match="found audio, expected a video stream"):
        VideoStream(str(path))


def test_a_camera_that_is_not_there_is_one_line() -> None:
    with pytest.raises(DataError, match="found no camera 97"):
        VideoStream("97")


def _save(folder: Path, name: str, image: np.ndarray) -> None:
    PillowImage.fromarray(image).save(folder / name)


def test_a_folder_is_read_in_the_order_of_its_numbers(tmp_path: Path) -> None:
    images = grey_ramp(12)
    for index, image in enumerate(images):
        _save(tmp_path, f"f_{index}.png", image)
    (tmp_path / "notes.txt").write_text("no frame")
    source = FrameFolder(str(tmp_path), 12.5)
    assert (source.total, source.size, source.rate) == (12, (48, 64), Fraction(25, 2))
    assert means(source) == [image.mean() for image in images]
    assert [f.time for f in FrameFolder(str(tmp_path / "f_[0-2].png"), 12.5)] == [0, Fraction(2, 25), Fraction(4, 25)]


def test_images_of_a_folder_that_cannot_be_used_are_skipped(tmp_path: Path) -> None:
    for index, image in enumerate(grey_ramp(4)):
        _save(tmp_path, f"{index}.png", image)
    (tmp_path / "1.png").write_bytes((tmp_path / "1.png").read_bytes()[:60])
    _save(tmp_path, "2.png", np.zeros((8, 8, 3), np.uint8))
    source = FrameFolder(str(tmp_path), 10)
    assert [frame.name for frame in source] == ["0", "3"]
    assert source.skipped == 2
    assert "1.png: found a damaged image" in source.first_error


def test_an_empty_folder_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="found no image in it"):
        FrameFolder(str(tmp_path), 10)
    with pytest.raises(DataError, match="found no image that matches"):
        FrameFolder(str(tmp_path / "*.png"), 10)
