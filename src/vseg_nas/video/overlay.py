"""Labels laid over frames, and the video of it."""

from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from vseg_nas.errors import RunError, missing_extra
from vseg_nas.video.frames import Image

try:
    import av
except ImportError as error:
    raise missing_extra("av", "to write video (overlay=false does without)", "video") from error

_SQUARE = Fraction(1)
_OPTIONS = {"crf": "20", "preset": "veryfast"}


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
    """Writes H.264 frame by frame; use it as a context manager.

    Args:
        path: of the file; its suffix picks the container.
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
        self._time_base = time_base
        try:
            self._container = av.open(str(path), "w")
        except (av.FFmpegError, OSError) as error:
            raise RunError(f"{path}: cannot be written ({error.strerror})") from error
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
        frame.pts, frame.time_base = int(time / self._time_base), self._time_base
        self._mux(frame)

    def close(self) -> None:
        """Writes what is still in the encoder and finishes the file.

        Raises:
            RunError: the disk is full.
        """
        try:
            self._mux(None)
        finally:
            self._container.close()

    def _mux(self, frame: av.VideoFrame | None) -> None:
        try:
            self._container.mux(self._stream.encode(frame))
        except (av.FFmpegError, OSError) as error:
            raise RunError(f"{self._path}: cannot be written ({error.strerror})") from error
