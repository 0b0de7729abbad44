"""Frames of a video file or a camera, decoded by PyAV (FFmpeg's libraries)."""

import sys
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import numpy as np

from vseg_nas.errors import DataError, missing_extra
from vseg_nas.video.frames import Frame, Image

try:
    import av
    import av.stream
except ImportError as error:
    raise missing_extra("av", "to read and write video", "video") from error

_CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}"), "win32": ("dshow", "video={}")}
_USUAL_RATE = Fraction(25)
_LARGEST_TIME_BASE = 1_000_000  # ticks a second


class VideoStream:
    """A `FrameSource` over the first video stream of a file or a camera.

    Frames are turned upright as the file says. One that cannot be decoded is skipped, and so is one that the decoder
    had to make up. Frames of another size than the first are resized to it.

    Args:
        source: a path, or the number of a camera.

    Raises:
        DataError: it cannot be opened, or has no frame that can be decoded.
    """

    def __init__(self, source: str) -> None:
        self.endless = source.isdecimal() and not Path(source).exists()
        self.skipped = 0
        self.complaint = ""
        self._source = source
        self._container = _open_camera(int(source)) if self.endless else _open(source)
        streams = [s for s in self._container.streams.video if not s.disposition & av.stream.Disposition.attached_pic]
        if not streams:
            kinds = ", ".join(sorted({stream.type for stream in self._container.streams})) or "nothing"
            self.close()
            raise DataError(f"source: {source}: found {kinds}, expected a video stream")
        self._stream = streams[0]
        self._stream.thread_type = "AUTO"
        self.rate = self._stream.average_rate or self._stream.guessed_rate or _USUAL_RATE
        base = self._stream.time_base or 1 / self.rate
        self.time_base = base if base.denominator <= _LARGEST_TIME_BASE else Fraction(1, _LARGEST_TIME_BASE)
        self.total = self._stream.frames or self._estimate()
        self._decoded = self._decode()
        self._first = next(self._decoded, None)
        if self._first is None:
            self.close()
            raise DataError(f"source: {source}: found no frame that can be decoded ({self.complaint or 'empty'})")
        self._turns = _quarter_turns(self._first)
        height, width = self._first.height, self._first.width
        self._plane = height, width
        self.size = (width, height) if self._turns % 2 else (height, width)

    def _estimate(self) -> int | None:
        """From the duration, where the file has no count."""
        if self.endless or not self._container.duration:
            return None
        return max(1, round(Fraction(self._container.duration, av.time_base) * self.rate))

    def _decode(self) -> Iterator[av.VideoFrame]:
        packets = self._container.demux(self._stream)
        while True:
            try:
                packet = next(packets, None)
            except av.FFmpegError as error:  # the rest of the file cannot be read
                self._skip(f"unreadable from here on ({error.strerror})")
                return
            if packet is None:
                return
            try:
                frames = packet.decode()
            except av.FFmpegError as error:
                self._skip(f"{error.strerror}")
                continue
            for frame in frames:
                assert isinstance(frame, av.VideoFrame)
                if frame.is_corrupt:
                    self._skip("a frame with parts missing")
                else:
                    yield frame

    def _skip(self, why: str) -> None:
        self.skipped += 1
        self.complaint = self.complaint or f"{self._source}: {why}"

    def __iter__(self) -> Iterator[Frame]:
        frame, self._first = self._first, None
        start, last, index = None, -self.time_base, 0
        while frame is not None:
            seconds = None if frame.pts is None or frame.time_base is None else frame.pts * frame.time_base
            start = seconds if start is None else start
            time = last + 1 / self.rate if seconds is None or start is None else seconds - start
            time = max(round(time / self.time_base) * self.time_base, last + self.time_base)
            yield Frame(self._upright(frame), time, f"{index:06}")
            last, index = time, index + 1
            frame = next(self._decoded, None)

    def _upright(self, frame: av.VideoFrame) -> Image:
        height, width = self._plane
        image = frame.to_ndarray(format="rgb24", width=width, height=height)
        return np.ascontiguousarray(np.rot90(image, self._turns))

    def close(self) -> None:
        """Closes the file or the camera."""
        self._container.close()


def _quarter_turns(frame: av.VideoFrame) -> int:
    """Anti-clockwise, that bring a frame upright."""
    return round(frame.rotation / 90) % 4


def _open(source: str) -> av.container.InputContainer:
    try:
        return av.open(source)
    except (av.FFmpegError, OSError) as error:
        raise DataError(f"source: {source}: cannot be read as video ({error.strerror or error})") from error


def _open_camera(number: int) -> av.container.InputContainer:
    kind, name = _CAMERAS.get(sys.platform, _CAMERAS["linux"])
    try:
        return av.open(name.format(number), format=kind)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DataError(f"source: found no camera {number} at {name.format(number)} ({error})") from error
