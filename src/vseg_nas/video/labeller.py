"""What labels frames, whatever computes it: torch here, onnxruntime in `vseg_nas.video.onnx_labeller`.

Legend: H, W pixels of the source, h, w pixels of the network's frames, K classes.
"""

from abc import ABC, abstractmethod

import cv2
import numpy as np
from numpy.typing import NDArray

from vseg_nas.video.frames import Image

Colour = tuple[int, int, int]
Size = tuple[int, int]
Floats = NDArray[np.float32]
_LARGEST = 255.0


class Labeller(ABC):
    """A video network with the state that a video has left in it.

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
        self._mean = np.asarray(mean, np.float32) * np.float32(_LARGEST)
        self._std = np.asarray(std, np.float32) * np.float32(_LARGEST)

    def prepare(self, image: Image) -> Floats:
        """A frame (H, W, 3) uint8, RGB, as the network takes it: (1, 3, h, w), resized and normalised as in training.

        Raises:
            ValueError: the image has another shape or type.
        """
        if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3:
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
        """
        height, width = image.shape[:2]
        return self.label(self.prepare(image), key, (height, width))

    @abstractmethod
    def label(self, frame: Floats, key: bool, size: Size) -> Image:
        """Labels (H, W) of a frame from `prepare`: what `step` does after that, and what is timed."""

    @abstractmethod
    def confidence(self) -> float:
        """Of the last frame: the mean over the plane of the logits of the probability of the likeliest class."""

    @abstractmethod
    def reset(self) -> None:
        """Forgets the video: the next frame is a key frame."""


def likeliest(logits: Floats, size: Size) -> Image:
    """Class ids (H, W) of logits (K, h, w), resized bilinearly; the lower id where two are equally likely.

    Plane by plane, since numpy's argmax over K planes of full size takes several times as long.
    """
    height, width = size
    best = cv2.resize(logits[0], (width, height), interpolation=cv2.INTER_LINEAR)
    ids = np.zeros(size, np.uint8)
    for index, plane in enumerate(logits[1:], 1):
        full = cv2.resize(plane, (width, height), interpolation=cv2.INTER_LINEAR)
        ids[full > best] = index
        np.maximum(best, full, out=best)
    return ids


def _resized(image: Image, size: Size) -> Image:
    """As the transforms of training and evaluation do it: cubic where a frame grows, area where it shrinks."""
    (height, width), (new_height, new_width) = image.shape[:2], size
    if (height, width) == size:
        return image
    shrinks = new_height < height or new_width < width
    how = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    resized: Image = cv2.resize(image, (new_width, new_height), interpolation=how)  # type: ignore[assignment]
    return resized
