"""Times rise and say when a frame is shown, whatever the stamps of the file do."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import pytest

from tests.video.making import grey_ramp, write_video
from vseg_nas.video.frame_times import FrameTimes
from vseg_nas.video.overlay import VideoWriter
from vseg_nas.video.stream import VideoStream

HOUR = 3_600_000


def _times(stamps: Sequence[int | None], longest: int = 10, tick: Fraction = Fraction(1, 1000)) -> list[int]:
    """Milliseconds of frames at 25 a second."""
    times = FrameTimes(Fraction(25), tick, Fraction(longest))
    found = [times.after(None if stamp is None else Fraction(stamp, 1000)) for stamp in stamps]
    assert all(one < other for one, other in itertools.pairwise(found))
    return [round(1000 * time) for time in found]


@pytest.mark.parametrize(
    ("stamps", "expected"),
    [
        ([0, 40, 80], [0, 40, 80]),
        ([-500, -460, -420], [0, 40, 80]),
        ([HOUR, HOUR + 10, HOUR + 90], [0, 10, 90]),
        ([None, None, None], [0, 40, 80]),
        ([None, None, 700, 710], [0, 40, 80, 90]),
        ([0, None, None, 120, 130], [0, 40, 80, 120, 130]),
        ([0, None, None, None], [0, 40, 80, 120]),
        ([0, 0, 0, 0], [0, 40, 80, 120]),
        ([0, 40, 40, 120, 160], [0, 40, 80, 120, 160]),
        ([0, 10, 200, 0, 10, 200, 0], [0, 10, 200, 240, 250, 440, 480]),  # joined twice
        ([8000, 8040, 8080, 100, 140], [0, 40, 80, 120, 160]),
        ([0, 80, 40, 120, 160], [0, 80, 100, 120, 160]),  # out of order: the others keep their times
        ([0, 40, 80, 0, 40, 80, 120], [0, 40, 80, 100, 120, 160, 180]),  # as little as out of order
        ([0, 40, 9000, 9040], [0, 40, 9000, 9040]),
        ([0, 40, 10_041, 10_081], [0, 40, 80, 120]),  # too far to be a time
        ([0, 40, 2**62, 2**62 + 40], [0, 40, 80, 120]),
        ([0, 40, -(2**62), 40 - 2**62], [0, 40, 80, 120]),
    ],
)
def test_stamps_become_times(stamps: list[int | None], expected: list[int]) -> None:
    assert _times(stamps) == expected


def test_times_keep_apart_on_a_coarse_count() -> None:
    assert _times([0, 10, 20, 30, 1000], tick=Fraction(1, 10)) == [0, 100, 200, 300, 1000]


def test_rounding_does_not_add_up() -> None:
    times = FrameTimes(Fraction(30), Fraction(1, 1000), Fraction(10))
    assert [times.after(None) for _ in range(3001)][-1] == 100


def _overlay(source: VideoStream, path: Path) -> tuple[list[Fraction], list[Fraction]]:
    """The times of the frames, and those of the overlay."""
    writer, times = VideoWriter(path, source.size, source.rate, source.time_base, source.pixel_aspect), []
    for frame in source:
        writer.write(frame.image, frame.time)
        times.append(frame.time)
    writer.close()
    with av.open(str(path)) as container:
        frames = [(frame.pts, frame.time_base) for frame in container.decode(video=0)]
    return times, [ticks * base for ticks, base in frames if ticks is not None and base is not None]


def test_joined_files_follow_each_other(tmp_path: Path) -> None:
    path = write_video(tmp_path / "a.ts", grey_ramp(25))
    path.write_bytes(path.read_bytes() * 2)
    times, shown = _overlay(VideoStream(str(path)), tmp_path / "o.mp4")
    assert times == [Fraction(index, 25) for index in range(50)]
    assert shown == times


@pytest.mark.parametrize("later", [20, 40_000, 90_000])
def test_a_joined_file_that_counts_from_later_follows_too(tmp_path: Path, later: int) -> None:
    one = write_video(tmp_path / "a.ts", grey_ramp(10))
    other = write_video(tmp_path / "b.ts", grey_ramp(10), ticks=[1000 * later + 40 * index for index in range(10)])
    (tmp_path / "ab.ts").write_bytes(one.read_bytes() + other.read_bytes())
    times, shown = _overlay(VideoStream(str(tmp_path / "ab.ts")), tmp_path / "o.mp4")
    assert [float(time) for time in times] == pytest.approx([index / 25 for index in range(20)], abs=0.002)
    assert shown == times


@pytest.mark.parametrize("suffix", [".h264", ".avi", ".mkv", ".flv"])
def test_every_container_begins_at_0(tmp_path: Path, suffix: str) -> None:
    """Raw H.264 has no stamps, AVI none of the time to show a frame, in FLV and Matroska they are milliseconds."""
    times, shown = _overlay(VideoStream(str(write_video(tmp_path / f"a{suffix}", grey_ramp(30)))), tmp_path / "o.mp4")
    assert [float(time) for time in times] == pytest.approx([index / 25 for index in range(30)], abs=1e-5)
    assert shown == times


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
@pytest.mark.parametrize("hours", [1, 7, 29])
def test_a_long_gap_stays(tmp_path: Path, suffix: str, hours: int) -> None:
    ticks = [0, 40, 80, hours * HOUR, hours * HOUR + 40]
    source = VideoStream(str(write_video(tmp_path / f"a{suffix}", grey_ramp(5), ticks=ticks)))
    times, shown = _overlay(source, tmp_path / "o.mp4")
    assert times == [Fraction(tick, 1000) for tick in ticks]
    assert shown == times


def test_a_negative_start_is_0(tmp_path: Path) -> None:
    ticks = [-400 + 40 * index for index in range(10)]
    times, shown = _overlay(
        VideoStream(str(write_video(tmp_path / "a.mkv", grey_ramp(10), ticks=ticks))), tmp_path / "o.mp4"
    )
    assert times == [Fraction(index, 25) for index in range(10)]
    assert shown == times
