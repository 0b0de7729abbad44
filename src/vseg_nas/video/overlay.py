"""Labels laid over frames, and the video of it."""

from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np
from numpy.typing import NDArray

from vseg_nas.errors import RunError, missing_extra
from vseg_nas.files import Unbuffered, flush
from vseg_nas.video.frames import Image

try:
    import av
except ImportError as error:
    raise missing_extra("av", "to write video (overlay=false does without)", "video") from error

_SQUARE = Fraction(1)
_OPTIONS = {"crf": "20", "preset": "veryfast"}
_CONTAINER = {"movflags": "hybrid_fragmented+delay_moov", "frag_duration": "1000000"}
"""Fragments of a second play wherever the process ends; what is finished is an ordinary file, with an index."""


def blend(image: Image, labels: Image, palette: NDArray[np.uint8], opacity: float) -> Image:
    """Colours of the classes over a frame.

    Args:
        image: (H, W, 3) uint8, RGB.
        labels: (H, W) uint8, class ids.
        palette: (256, 3) uint8, RGB of each id.
        opacity: of the colours, 0 to 1.

    Returns:
        (H, W, 3) uint8.
    """
    blended: Image = cv2.addWeighted(palette[labels], opacity, image, 1 - opacity, 0)  # type: ignore[assignment]
    return blended


class VideoWriter:
    """Writes H.264 in MP4 frame by frame; until it is closed, as ``NAME.partial.mp4``, which plays at any time.

    Args:
        path: of the finished file; nothing is left of one that cannot be written.
        size: height and width of the frames. Odd ones are kept, without sharing colours among pixels.
        rate: frames a second.
        time_base: times are whole multiples of it, in seconds.
        pixel_aspect: width of a pixel over its height.
    """

    def __init__(
        self,
        path: Path,
        size: tuple[int, int],
        rate: Fraction,
        time_base: Fraction,
        pixel_aspect: Fraction = _SQUARE,
    ) -> None:
        self._path = path
        self._partial = path.with_name(f"{path.stem}.partial{path.suffix}")
        self._time_base = time_base
        self._open = True
        self._empty = True
        try:
            self._partial.unlink(missing_ok=True)
            self._file = Unbuffered(self._partial, "x+")
        except OSError as error:
            raise RunError(f"{path}: cannot be written ({error.strerror})") from error
        self._container = av.open(self._file, "w", format="mp4", container_options=_CONTAINER)
        stream = self._container.add_stream("libx264", rate=rate, options=_OPTIONS)
        stream.height, stream.width = size
        stream.pix_fmt = "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"
        stream.codec_context.time_base = time_base
        stream.codec_context.sample_aspect_ratio = pixel_aspect
        self._stream = stream

    def write(self, image: Image, time: Fraction) -> None:
        """Adds a frame (H, W, 3) that is shown from ``time`` on, in seconds.

        Raises:
            RunError: the disk is full.
        """
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        self._empty = False
        frame.pts, frame.time_base = int(time / self._time_base), self._time_base
        self._mux(frame)

    def close(self) -> None:
        """Writes what is still in the encoder and finishes the file, unless that is done or it could not be written.

        Without a frame there is no file.

        Raises:
            RunError: the disk is full.
        """
        if not self._open:
            return
        if self._empty:
            self._discard()
            return
        self._mux(None)
        try:
            self._container.close()
            self._file.close()
            flush(self._partial)
            self._partial.replace(self._path)
            flush(self._path.parent)
        except (av.FFmpegError, OSError) as error:
            self._give_up(error)
        self._open = False

    def _mux(self, frame: av.VideoFrame | None) -> None:
        try:
            self._container.mux(self._stream.encode(frame))
        except (av.FFmpegError, OSError) as error:
            self._give_up(error)

    def _give_up(self, error: av.FFmpegError | OSError) -> NoReturn:
        self._discard()
        raise RunError(f"{self._path}: cannot be written ({error.strerror})") from error

    def _discard(self) -> None:
        self._open = False
        self._file.close()  # first: the muxer may crash if it has to end a file that it could not continue
        with suppress(av.FFmpegError, OSError):
            self._container.close()
        self._partial.unlink(missing_ok=True)
