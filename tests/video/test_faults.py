"""Disks that run full and kills while products are written: files are whole, and the right one is named."""

from __future__ import annotations

import resource
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest
from PIL import Image as PillowImage

from vseg_nas.errors import RunError
from vseg_nas.video.frames import Frame
from vseg_nas.video.overlay import VideoWriter
from vseg_nas.video.prediction import Prediction
from vseg_nas.video.writers import frame_table, full_palette, label_maps, overlay_video

SIZE = (48, 64)
RATE = Fraction(25)
PALETTE = full_palette(((0, 0, 0), (255, 0, 0)))


def noise(index: int) -> Prediction:
    rng = np.random.default_rng(index)
    image = rng.integers(0, 255, (*SIZE, 1), dtype=np.uint8).repeat(3, 2)  # grey: video shares colours among pixels
    labels = rng.integers(0, 2, SIZE, dtype=np.uint8)
    return Prediction(Frame(image, index / RATE, f"{index:06}"), labels, index == 0, 1.0, 0.5)


@contextmanager
def files_of_at_most(size: int) -> Iterator[None]:
    """Writes beyond this many bytes of a file fail as on a full disk; Python ignores the signal for it."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def decoded(path: Path) -> int:
    with av.open(str(path)) as container:
        return sum(1 for _ in container.decode(video=0))


@pytest.mark.parametrize(
    ("room", "failed"),
    [(20, "frames.csv"), (150, "labels/000000.png"), (3000, "overlay.mp4"), (50_000, "overlay.mp4")],
)
def test_the_file_that_cannot_be_written_is_named_and_nothing_is_half_there(
    tmp_path: Path, room: int, failed: str
) -> None:
    done = 0

    def write() -> None:
        nonlocal done
        with (
            files_of_at_most(room),
            frame_table(tmp_path / "frames.csv") as row,
            overlay_video(tmp_path / "overlay.mp4", SIZE, RATE, 1 / RATE, Fraction(1), PALETTE, 0.5) as video,
            label_maps(tmp_path / "labels", PALETTE) as png,
        ):
            for done in range(200):
                for sink in (row, png, video):
                    sink(noise(done))

    with pytest.raises(RunError) as error:
        write()
    assert str(error.value).startswith(f"{tmp_path / failed}: cannot be written (")
    assert not list(tmp_path.rglob("*partial*"))
    if (tmp_path / "overlay.mp4").exists():
        assert decoded(tmp_path / "overlay.mp4") == done
    for path in (tmp_path / "labels").glob("*") if (tmp_path / "labels").exists() else ():
        assert np.array_equal(np.asarray(PillowImage.open(path)), noise(int(path.stem)).labels)
    lines = (tmp_path / "frames.csv").read_text().splitlines(keepends=True)
    assert all(line.endswith("\n") and line.count(",") == 5 for line in lines)


def test_a_table_that_runs_full_ends_with_a_whole_row(tmp_path: Path) -> None:
    path = tmp_path / "frames.csv"

    def write() -> None:
        with files_of_at_most(150), frame_table(path) as row:
            for index in range(99):
                row(noise(index))

    with pytest.raises(RunError, match=r"frames\.csv: cannot be written"):
        write()
    lines = path.read_text().splitlines(keepends=True)
    assert len(lines) > 2
    assert all(line.endswith("\n") and line.count(",") == 5 for line in lines)


def test_what_others_cannot_read_is_not_blamed_on_a_product(tmp_path: Path) -> None:
    def read() -> None:
        with (
            frame_table(tmp_path / "frames.csv") as row,
            overlay_video(tmp_path / "o.mp4", SIZE, RATE, 1 / RATE, Fraction(1), PALETTE, 0.5) as video,
        ):
            row(noise(0))
            video(noise(0))
            raise OSError("the source is gone")

    with pytest.raises(OSError, match="the source is gone"):
        read()
    assert decoded(tmp_path / "o.mp4") == 1


def test_a_muxer_that_fails_leaves_nothing(tmp_path: Path) -> None:
    """Frames 28 hours apart are more than MP4 can count; asked to end such a file, FFmpeg crashes."""
    rate = Fraction(1, 100_000)
    writer = VideoWriter(tmp_path / "o.mp4", SIZE, rate, 1 / rate)

    def write() -> None:
        for index in range(99):
            writer.write(noise(index).frame.image, index / rate)
        writer.close()

    with pytest.raises(RunError, match=r"o\.mp4: cannot be written"):
        write()
    writer.close()
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "rate", [Fraction(1, 10_000), Fraction(12345, 99994501), Fraction(24000, 1001), Fraction(1000)]
)
def test_overlays_of_any_rate_keep_the_times(tmp_path: Path, rate: Fraction) -> None:
    writer = VideoWriter(tmp_path / "o.mp4", SIZE, rate, 1 / rate)
    for index in range(30):
        writer.write(noise(index).frame.image, index / rate)
    writer.close()
    with av.open(str(tmp_path / "o.mp4")) as container:
        stream = container.streams.video[0]
        assert (stream.frames, stream.average_rate) == (30, rate)
        times = [(frame.pts or 0) * (frame.time_base or 0) for frame in container.decode(stream)]
    assert times == [index / rate for index in range(30)]


_KILLED = """
import sys, time
from pathlib import Path
from tests.video.test_faults import *
path = Path(sys.argv[1])
with overlay_video(path / "overlay.mp4", SIZE, RATE, 1 / RATE, Fraction(1), PALETTE, 0.0) as video:
    for index in range(200):
        video(noise(index))
    print("written", flush=True)
    time.sleep(99)
"""


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGINT])
def test_an_overlay_plays_after_a_kill(tmp_path: Path, number: signal.Signals) -> None:
    command = [sys.executable, "-c", _KILLED, str(tmp_path)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(command, cwd=root, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == b"written\n"
        child.send_signal(number)
    killed = number == signal.SIGKILL
    (left,) = tmp_path.iterdir()
    assert left.name == ("overlay.partial.mp4" if killed else "overlay.mp4")
    with av.open(str(left)) as container:
        frames = [frame.to_ndarray(format="rgb24").astype(int) for frame in container.decode(video=0)]
    assert len(frames) >= 150 if killed else len(frames) == 200  # what the encoder held is lost
    for index in (0, 75, len(frames) - 1):
        assert np.abs(frames[index] - noise(index).frame.image).mean() < 40
        assert np.abs(frames[index] - noise(index + 1).frame.image).mean() > 45
