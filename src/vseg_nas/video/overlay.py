"""Overlays: frames with the colours of their labels, and the video of them."""

from contextlib import suppress
from fractions import Fraction
from pathlib import Path
from typing import NoReturn

import cv2
import numpy as np
from numpy.typing import NDArray

from vseg_nas.errors import RunError, missing_extra
from vseg_nas.pictures import Image
from vseg_nas.runs.files import Unbuffered, flush

try:
    import av
except ImportError as error:
    raise missing_extra("av", "to write video (overlay=false does without)", "video") from error

_SQUARE = Fraction(1)
_OPTIONS = {"crf": "20", "preset": "veryfast"}
_CONTAINER = {"movflags": "hybrid_fragmented+delay_moov", "frag_duration": "1000000"}
"""Fragments of one second each, so that an unfinished file can be played; a finished one is an ordinary MP4 file."""


def blend(image: Image, labels: Image, palette: NDArray[np.uint8], opacity: float) -> Image:
    """Blends a frame with the colours of its classes.

    Args:
        image: (H, W, 3) uint8, RGB.
        labels: (H, W) uint8 class ids.
        palette: (256, 3) uint8 RGB of each class id.
        opacity: The opacity of the colours, in 0..1.

    Returns:
        (H, W, 3) uint8, RGB.
    """
    blended: Image = cv2.addWeighted(palette[labels], opacity, image, 1 - opacity, 0)  # type: ignore[assignment]
    return blended


class VideoWriter:
    """Writes H.264 in MP4 frame by frame; until it is closed the file is ``NAME.partial.mp4``, which can be played.

    Args:
        path: The path of the finished file; nothing is left of a file that cannot be written.
        size: Height and width of the frames in pixels. Odd sizes are kept, by storing colours for each pixel.
        rate: Frames per second.
        time_base: The unit of time in seconds; all times are integer multiples of it.
        pixel_aspect: The width of a pixel over its height.
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
        # 4:2:0 has one colour for 2 x 2 pixels, which odd sizes cannot have; but more players know it.
        stream.pix_fmt = "yuv444p" if size[0] % 2 or size[1] % 2 else "yuv420p"
        stream.codec_context.time_base = time_base
        stream.codec_context.sample_aspect_ratio = pixel_aspect
        self._stream = stream

    def write(self, image: Image, time: Fraction) -> None:
        """Adds a frame.

        Args:
            image: (H, W, 3) uint8, RGB.
            time: The time from which on it is displayed, in seconds.

        Raises:
            RunError: The disk is full.
        """
        frame = av.VideoFrame.from_ndarray(image, format="rgb24")
        self._empty = False
        frame.pts, frame.time_base = int(time / self._time_base), self._time_base
        self._mux(frame)

    def close(self) -> None:
        """Writes what the encoder still holds and finishes the file; without any frame there will be no file.

        A writer that is closed already, or that has failed, is left as it is.

        Raises:
            RunError: The disk is full.
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
        self._file.close()  # before the container: the muxer may crash while it finishes a file after a failed write
        with suppress(av.FFmpegError, OSError):
            self._container.close()
        self._partial.unlink(missing_ok=True)
