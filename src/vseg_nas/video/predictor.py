"""What labels frames, whatever computes it: torch here, onnxruntime in `vseg_nas.video.onnx_labeller`.

Legend: H, W pixels of the source, h, w pixels of the network's frames, K classes.
"""

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from vseg_nas.space.vocabulary import DEC_STRIDE
from vseg_nas.video.frames import Image

Colour = tuple[int, int, int]
Size = tuple[int, int]
Floats = NDArray[np.float32]
_LARGEST = 255.0


def after_fork(call: Callable[[], object]) -> None:
    """Has something called in every process that is forked from here on: the threads of libraries are not in it."""
    if hasattr(os, "register_at_fork"):  # not on Windows, which does not fork
        os.register_at_fork(after_in_child=call)


after_fork(lambda: cv2.setNumThreads(0))  # 1 would take the parent's threads down, and wait for them for ever


class Turn:
    """Lets one call in at a time, as a context manager; copies, pickles and forked processes have one of their own."""

    def __init__(self) -> None:
        self._renew()

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._process = os.getpid()

    def __enter__(self) -> None:
        """Raises a RuntimeError where another thread is in."""
        if self._process != os.getpid():  # a thread that was in it stayed in the parent
            self._renew()
        if not self._lock.acquire(blocking=False):
            raise RuntimeError(
                "labeller: found a call of another thread in it, expected one at a time; use one a video"
            )

    def __exit__(self, *error: object) -> None:
        """Lets the next one in."""
        self._lock.release()

    def __reduce__(self) -> tuple[type["Turn"], tuple[()]]:
        """A lock that is open."""
        return Turn, ()


class Labeller(ABC):
    """A video network with the state that a video has left in it: one video, one thread at a time.

    Args:
        classes: names, in the order of their ids.
        palette: RGB of each class.
        mean: of the RGB values in 0..1, taken off each frame.
        std: that frames are divided by then.
        size: h and w; None: those of the source.
    """

    def __init__(
        self,
        classes: tuple[str, ...],
        palette: tuple[Colour, ...],
        mean: tuple[float, ...],
        std: tuple[float, ...],
        size: Size | None,
    ) -> None:
        self.classes = classes
        self.palette = palette
        self.size = size
        self.turn = Turn()
        self._source: Size | None = None
        self._mean = np.asarray(mean, np.float32) * np.float32(_LARGEST)
        self._std = np.asarray(std, np.float32) * np.float32(_LARGEST)

    def prepare(self, image: Image) -> Floats:
        """A frame (H, W, 3) uint8, RGB, as the network takes it: (1, 3, h, w), resized and normalised as in training.

        Raises:
            ValueError: the image has another shape or type.
        """
        if not isinstance(image, np.ndarray):
            raise ValueError(f"image: found {type(image).__name__}, expected an array of uint8 (H, W, 3), RGB")
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ValueError(f"image: found {image.dtype} {image.shape}, expected uint8 (H, W, 3), RGB")
        small = _resized(image, self.size or image.shape[:2])
        planes = (small.astype(np.float32) - self._mean) / self._std
        return np.ascontiguousarray(planes.transpose(2, 0, 1)[None])

    def step(self, image: Image, key: bool = False) -> Image:
        """Labels the next frame of a video.

        Args:
            image: (H, W, 3) uint8, RGB.
            key: make it a key frame; the first one is one anyway.

        Returns:
            (H, W) uint8, class ids.

        Raises:
            ValueError: the image has another shape or type, or another size than the one before.
            RuntimeError: another thread is in a call of this labeller.
        """
        frame = self.prepare(image)
        height, width = image.shape[:2]
        return self.label(frame, key, (height, width))

    def check_size(self, size: Size, key: bool) -> None:
        """Compares with the frame before, unless the next one is a key frame.

        Raises:
            ValueError: a video changes its size.
        """
        if not key and self._source not in (None, size):
            raise ValueError(
                f"image: found {size} pixels, expected {self._source} as before; call reset() between videos"
            )
        self._source = size

    @abstractmethod
    def label(self, frame: Floats, key: bool, size: Size) -> Image:
        """Labels (H, W) of a frame from `prepare`: what `step` does after that, and what is timed.

        Raises:
            ValueError: the size is another one than before, and this is no key frame.
            RuntimeError: another thread is in a call of this labeller.
        """

    @abstractmethod
    def confidence(self) -> float:
        """Of the last frame: the mean over the plane of the logits of the probability of the likeliest class."""

    @abstractmethod
    def reset(self) -> None:
        """Forgets the video: the next frame is a key frame."""


def likeliest(logits: Floats, frame: Size, size: Size) -> Image:
    """Class ids of logits, enlarged bilinearly; the lower id where two are equally likely.

    Plane by plane, since numpy's argmax over K planes of full size takes several times as long.

    Args:
        logits: (K, ceil(h / 8), ceil(w / 8)).
        frame: h and w of the network's frame.
        size: H and W of the labels, to which the frame, not the plane that reaches beyond it, is stretched.

    Returns:
        (H, W).
    """
    down, across = (DEC_STRIDE * new / side for new, side in zip(size, frame, strict=True))  # pixels of a cell
    best = _enlarged(logits[0], down, across, size).copy()
    ids = np.zeros(size, np.uint8)
    for index, plane in enumerate(logits[1:], 1):
        full = _enlarged(plane, down, across, size)
        ids[full > best] = index
        np.maximum(best, full, out=best)
    return ids


def _enlarged(plane: Floats, down: float, across: float, size: Size) -> Floats:
    """A plane enlarged bilinearly by factors that may be fractions, and cut.

    OpenCV works with the factors themselves if it is given no size, which would take the place of them.
    """
    full: Floats = cv2.resize(plane, None, fx=across, fy=down, interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    return full[: size[0], : size[1]]


def _resized(image: Image, size: Size) -> Image:
    """As the transforms of training and evaluation do it: cubic where a frame grows, area where it shrinks."""
    (height, width), (new_height, new_width) = image.shape[:2], size
    if (height, width) == size:
        return image
    shrinks = new_height < height or new_width < width
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    resized: Image = cv2.resize(image, (new_width, new_height), interpolation=how)  # type: ignore[assignment]
    return resized
