"""Frames of a video file, an address or a camera, decoded by PyAV, which uses FFmpeg's libraries."""

import sys
import time
from collections.abc import Iterator
from fractions import Fraction
from typing import IO

import cv2

from vseg_nas.errors import DataError, missing_extra
from vseg_nas.pictures import Image
from vseg_nas.video.frames import Frame
from vseg_nas.video.source_kinds import check_video_file, is_address, is_camera

try:
    import av
    import av.stream
except ImportError as error:
    raise missing_extra("av", "to read and write video", "video") from error

from vseg_nas.video.frame_times import FrameTimes
from vseg_nas.video.orientation import Orientation

ANSWER_S = 10.0
"""Time in seconds within which an address has to answer, at the start and for each packet."""

_CAMERAS = {"linux": ("v4l2", "/dev/video{}"), "darwin": ("avfoundation", "{}"), "win32": ("dshow", "video={}")}
_USUAL_RATE = Fraction(25)
_MOST_TICKS = 90_000  # ticks per second
_LONGEST_TICKS = 2**31 - 1  # the most ticks between two frames that MP4 can store: more than six hours
_MP4_TICK = Fraction(1, 20_000)  # seconds; MP4 halves the tick until it is at most this long
_LONGEST_DISCONTINUOUS = Fraction(10)  # seconds; FFmpeg's limit for containers whose stamps may jump, such as MPEG-TS
_DISCONTINUOUS = 0x200  # AVFMT_TS_DISCONT, the flag of these containers

# A playlist names other files and addresses, and a video may be from an untrusted source: nothing but the file itself
# is read.
_NO_OTHER_FILE = {"protocol_whitelist": "none"}
_TEXT = ("ansi", "bintext", "idf", "xbin")  # codecs that draw text files as video
_CONTAINERS = (
    "mov", "matroska", "mpegts", "mpeg", "avi", "flv", "ogg", "asf", "mxf", "nut", "ivf", "gif", "mjpeg", "mpjpeg",
    "h264", "hevc", "av1", "m4v", "mpegvideo", "yuv4mpegpipe",
)  # fmt: skip
_HTTP = {"protocol_whitelist": "http,https,httpproxy,tcp,tls", "format_whitelist": ",".join(_CONTAINERS)}
_RTSP = {"protocol_whitelist": "rtp,srtp,udp,tcp,tls", "rtsp_flags": "prefer_tcp"}


class VideoStream:
    """A `FrameSource` over the first video stream of a file, an address or a camera.

    Frames are turned and mirrored as the file says. A frame is skipped if it cannot be decoded, or if the decoder had
    to make up parts of it. Frames of another size than the first are resized to it, and so get its pixel aspect.

    Args:
        source: A path, the number of a camera, or an address (http, https, rtsp). A path that exists takes precedence.

    Raises:
        DataError: The source cannot be opened, or has no frame that can be decoded.
    """

    def __init__(self, source: str) -> None:
        self.skipped = 0
        self.first_error = ""
        self._source = source
        self._file: IO[bytes] | None = None
        self._container = self._open(source)
        self.endless = is_camera(source) or (is_address(source) and not self._container.duration)
        streams = [stream for stream in self._container.streams.video if _moves(stream)]
        if not streams:
            found = self._kinds()
            self.close()
            raise DataError(f"source: {source}: found {found}, expected a video stream")
        self._stream = streams[0]
        self._stream.thread_type = "AUTO"
        self.rate = self._stream.average_rate or self._stream.guessed_rate or _USUAL_RATE
        base = self._stream.time_base or 1 / self.rate
        self.time_base = base if base.denominator <= _MOST_TICKS else Fraction(1, _MOST_TICKS)
        self.total = self._stream.frames or self._estimate()
        self._decoded = self._decode()
        # The first frame is decoded now, because only it tells the size and the orientation reliably.
        self._first = next(self._decoded, None)
        if self._first is None:
            self.close()
            raise DataError(f"source: {source}: found no frame that can be decoded ({self.first_error or 'empty'})")
        self._plane = self._first.height, self._first.width
        height, width = self._plane
        is_sideways = Orientation.of(self._first).is_sideways
        self.size = (width, height) if is_sideways else (height, width)
        aspect = self._stream.sample_aspect_ratio or Fraction(1)
        self.pixel_aspect = 1 / aspect if is_sideways else aspect

    def _open(self, source: str) -> av.container.InputContainer:
        if is_camera(source):
            return _open_camera(int(source))
        if is_address(source):
            return _open_address(source)
        check_video_file(source)
        try:  # opened by Python, since FFmpeg takes "drive 12:30.mp4" for a protocol and "%03d" for a number
            self._file = open(source, "rb")  # noqa: SIM115  # stays open while frames are read
            return av.open(self._file, "r", container_options=_NO_OTHER_FILE, metadata_errors="replace")
        except (av.FFmpegError, OSError) as error:
            self._close_file()
            raise DataError(f"source: {source}: cannot be read as video ({_reason(error)})") from error

    def _kinds(self) -> str:
        names = {"video": "a cover, text or an unknown codec"}  # other kinds of video would have been accepted
        return ", ".join(sorted({names.get(s.type, s.type) for s in self._container.streams})) or "nothing"

    def _estimate(self) -> int | None:
        """Estimates the number of frames from the duration, for files that do not store it."""
        if self.endless or not self._container.duration:
            return None
        return max(1, round(Fraction(self._container.duration, av.time_base) * self.rate))

    def _decode(self) -> Iterator[av.VideoFrame]:
        for packet in self._packets():
            try:
                frames = self._stream.decode(packet)
            except av.FFmpegError as error:
                self._skip(f"{error.strerror}")
                continue
            for frame in frames:
                if frame.is_corrupt:
                    self._skip("a frame with parts missing")
                else:
                    yield frame

    def _packets(self) -> Iterator["av.Packet[av.VideoStream] | None"]:
        """Yields the packets, and None after the last readable one, by which the decoder returns its last frames."""
        try:
            yield from self._container.demux(self._stream)
        except (av.FFmpegError, OSError) as error:
            self._skip(f"unreadable from here on ({_reason(error)})")
            yield None

    def _skip(self, why: str) -> None:
        self.skipped += 1
        self.first_error = self.first_error or f"{self._source}: {why}"

    def __iter__(self) -> Iterator[Frame]:
        longest = _LONGEST_TICKS * min(self.time_base, _MP4_TICK)
        if self._container.format.flags & _DISCONTINUOUS:
            longest = _LONGEST_DISCONTINUOUS
        times = FrameTimes(self.rate, self.time_base, longest)
        frame, self._first, index = self._first, None, 0
        while frame is not None:
            yield Frame(self._upright(frame), times.after(self._stamp(frame)), f"{index:06}")
            index += 1
            frame = next(self._decoded, None)

    def _stamp(self, frame: av.VideoFrame) -> Fraction | None:
        """Returns the time stamp of a frame in seconds. AVI stores when to decode a frame, not when to display it."""
        ticks = frame.dts if self._container.format.name == "avi" else frame.pts
        return None if ticks is None or frame.time_base is None else ticks * frame.time_base

    def _upright(self, frame: av.VideoFrame) -> Image:
        height, width = self._plane
        stored: Image = frame.to_ndarray(format="rgb24", width=width, height=height)  # type: ignore[assignment]
        image = Orientation.of(frame).upright(stored)
        if image.shape[:2] != self.size:  # the orientation differs from that of the first frame
            image = cv2.resize(image, self.size[::-1], interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
        return image

    def close(self) -> None:
        """Closes the file, the connection or the camera."""
        self._container.close()
        self._close_file()

    def _close_file(self) -> None:
        if self._file is not None:
            self._file.close()


def _moves(stream: av.VideoStream) -> bool:
    """Returns whether a stream is a real video: neither the cover of a music file nor text that FFmpeg draws."""
    cover = stream.disposition & av.stream.Disposition.attached_pic
    return not cover and stream.codec_context is not None and stream.codec_context.name not in _TEXT


def _reason(error: av.FFmpegError | OSError) -> str:
    if isinstance(error, av.error.ExitError):
        return f"no answer within {ANSWER_S:g} s"
    if isinstance(error, av.error.ArgumentError):
        return "a playlist, or another kind of file that is not read"
    return error.strerror or str(error)


def _open_address(source: str) -> av.container.InputContainer:
    scheme, _, rest = source.partition(":")
    address, limits, start = f"{scheme.lower()}:{rest}", (ANSWER_S, ANSWER_S), time.monotonic()
    kind, options = ("rtsp", _RTSP) if address.startswith("rtsp") else (None, _HTTP)
    try:
        return av.open(address, "r", kind, container_options=options, timeout=limits, metadata_errors="replace")
    except (av.FFmpegError, OSError) as error:
        silent = time.monotonic() - start >= ANSWER_S  # FFmpeg reports some timeouts as invalid data
        reason = _reason(av.error.ExitError(0, "") if silent else error)
        raise DataError(f"source: {source}: cannot be read as video ({reason})") from error


def _open_camera(number: int) -> av.container.InputContainer:
    kind, name = _CAMERAS.get(sys.platform, _CAMERAS["linux"])
    try:
        return av.open(name.format(number), format=kind)
    except (av.FFmpegError, OSError, ValueError) as error:
        raise DataError(f"source: found no camera {number} at {name.format(number)} ({error})") from error
