"""Predictors: a video network behind one interface, computed by torch or onnxruntime.

Torch is not imported here, since `OnnxPredictor` does without it.

Legend: H, W pixels of the source, h, w pixels of the network's frames, K classes.
"""

import os
import threading
from abc import ABC, abstractmethod
from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

from vseg_nas.labels import Colour
from vseg_nas.pictures import Image, Size
from vseg_nas.space.vocabulary import DEC_STRIDE

Floats = NDArray[np.float32]
_LARGEST = 255.0


def after_fork(call: Callable[[], object]) -> None:
    """Registers a function to be called in every process that is forked from now on.

    The threads of libraries do not exist in a forked process, so a library that waits for them would never return.
    """
    if hasattr(os, "register_at_fork"):  # Windows does not fork
        os.register_at_fork(after_in_child=call)


# 0 makes OpenCV compute without threads. 1 would make it end the parent's threads first, and wait for them for ever.
after_fork(lambda: cv2.setNumThreads(0))


class ExclusiveUse:
    """A context manager that lets one thread in at a time and refuses others; it can be copied, pickled and forked.

    Each copy and each forked process has a lock of its own.
    """

    def __init__(self) -> None:
        self._renew()

    def _renew(self) -> None:
        self._lock = threading.Lock()
        self._process = os.getpid()

    def __enter__(self) -> None:
        """Raises a RuntimeError if another thread is inside."""
        if self._process != os.getpid():  # the thread that holds a forked lock exists in the parent only
            self._renew()
        if not self._lock.acquire(blocking=False):
            raise RuntimeError(
                "predictor: found a call of another thread in it, expected one at a time; use one a video"
            )

    def __exit__(self, *error: object) -> None:
        """Lets the next thread in."""
        self._lock.release()

    def __reduce__(self) -> tuple[type["ExclusiveUse"], tuple[()]]:
        """Copies and pickles get a new, open lock."""
        return ExclusiveUse, ()


class Predictor(ABC):
    """A video network together with its state: it predicts one video at a time, and is called by one thread at a time.

    Args:
        classes: The names of the K classes, in the order of their ids.
        palette: The RGB colour of each class.
        mean: Mean of each RGB channel in 0..1, which is subtracted from frames.
        std: Standard deviation of each RGB channel, by which frames are divided afterwards.
        size: Height and width in pixels to which frames are resized; None keeps the size of the source.
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
        self.exclusive = ExclusiveUse()
        self._source: Size | None = None
        self._mean = np.asarray(mean, np.float32) * np.float32(_LARGEST)
        self._std = np.asarray(std, np.float32) * np.float32(_LARGEST)

    def prepare(self, image: Image) -> Floats:
        """Resizes and normalises a frame as in training.

        Args:
            image: (H, W, 3) uint8, RGB.

        Returns:
            (1, 3, h, w) float32, the input of the network.

        Raises:
            ValueError: The image has another shape or type.
        """
        if not isinstance(image, np.ndarray):
            raise ValueError(f"image: found {type(image).__name__}, expected an array of uint8 (H, W, 3), RGB")
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or image.size == 0:
            raise ValueError(f"image: found {image.dtype} {image.shape}, expected uint8 (H, W, 3), RGB")
        small = _resized(image, self.size or image.shape[:2])
        planes = (small.astype(np.float32) - self._mean) / self._std
        return np.ascontiguousarray(planes.transpose(2, 0, 1)[None])

    def step(self, image: Image, key: bool = False) -> Image:
        """Predicts the labels of the next frame of a video.

        Args:
            image: (H, W, 3) uint8, RGB.
            key: Whether to make it a key frame; the first frame always is one.

        Returns:
            (H, W) uint8 class ids.

        Raises:
            ValueError: The image has another shape or type, or another size than the previous one.
            RuntimeError: Another thread is calling this predictor.
        """
        frame = self.prepare(image)
        height, width = image.shape[:2]
        return self.predict(frame, key, (height, width))

    def check_size(self, size: Size, key: bool) -> None:
        """Compares the size of a frame with that of the previous one, unless it is a key frame.

        Raises:
            ValueError: The size has changed within a video.
        """
        if not key and self._source not in (None, size):
            raise ValueError(
                f"image: found {size} pixels, expected {self._source} as before; call reset() between videos"
            )
        self._source = size

    @abstractmethod
    def predict(self, frame: Floats, key: bool, size: Size) -> Image:
        """Predicts the labels of a prepared frame: the part of `step` that is timed.

        Args:
            frame: (1, 3, h, w), from `prepare`.
            key: Whether to make it a key frame.
            size: Height and width of the labels in pixels.

        Returns:
            (H, W) uint8 class ids.

        Raises:
            ValueError: The size has changed, and this is not a key frame.
            RuntimeError: Another thread is calling this predictor.
        """

    @abstractmethod
    def confidence(self) -> float:
        """Returns the confidence of the last frame: the mean over the plane of the largest class probability."""

    @abstractmethod
    def reset(self) -> None:
        """Forgets the video, so that the next frame is a key frame."""


def likeliest(logits: Floats, frame: Size, size: Size) -> Image:
    """Enlarges logits bilinearly and returns the most likely class of each pixel; of equals, the lower id.

    This is the same as `vseg_nas.models.layers.label_map`, in NumPy, for runtimes without torch.
    It goes plane by plane, because NumPy's argmax over K planes of full size takes several times as long.

    Args:
        logits: (K, ceil(h / 8), ceil(w / 8)) logits.
        frame: The height and width of the network's frame in pixels.
        size: Height and width of the labels in pixels. The frame is stretched to it, not the plane, which may reach
            beyond the frame.

    Returns:
        (H, W) uint8 class ids.
    """
    # Pixels of the labels that one value of the plane covers.
    down, across = (DEC_STRIDE * new / side for new, side in zip(size, frame, strict=True))
    best = _enlarged(logits[0], down, across, size).copy()
    ids = np.zeros(size, np.uint8)
    for index, plane in enumerate(logits[1:], 1):
        full = _enlarged(plane, down, across, size)
        ids[full > best] = index  # strictly larger, so that the lower id wins
        np.maximum(best, full, out=best)
    return ids


def _enlarged(plane: Floats, down: float, across: float, size: Size) -> Floats:
    """Enlarges a plane bilinearly by factors that may be fractions, and crops it.

    OpenCV uses the factors themselves only if it is given no size; otherwise it computes them from the sizes.
    """
    full: Floats = cv2.resize(plane, None, fx=across, fy=down, interpolation=cv2.INTER_LINEAR)  # type: ignore[assignment]
    return full[: size[0], : size[1]]


def _resized(image: Image, size: Size) -> Image:
    """Resizes a frame as the transforms of training and evaluation do: cubic to enlarge, by areas to shrink."""
    (height, width), (new_height, new_width) = image.shape[:2], size
    if (height, width) == size:
        return image
    shrinks = new_height < height or new_width < width
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    resized: Image = cv2.resize(image, (new_width, new_height), interpolation=how)  # type: ignore[assignment]
    return resized
