"""Clips: what every data set gives, what transforms return and what a batch holds.

Legend: B clips, T frames, H, W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

Image = NDArray[np.uint8]
Colour = tuple[int, int, int]


@dataclass(frozen=True)
class RawClip:
    """A clip as stored: consecutive frames and their masks.

    Attributes:
        frames: T arrays (H, W, 3), uint8, RGB.
        masks: T arrays (H, W), uint8 class ids; all `IGNORE` where a frame has no annotation.
        names: T frame names.
    """

    frames: tuple[Image, ...]
    masks: tuple[Image, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Clip:
    """A clip ready for a network.

    Attributes:
        frames: (T, 3, H, W) float32, normalised with ImageNet's mean and standard deviation.
        masks: (T, H', W') int64; H', W' differ from H, W only where a transform keeps masks at native size.
        names: T frame names.
    """

    frames: Tensor
    masks: Tensor
    names: tuple[str, ...]


class ClipBatch(NamedTuple):
    """B clips of equal size; a NamedTuple, so loaders pin it and Lightning moves it.

    Attributes:
        frames: (B, T, 3, H, W) float32.
        masks: (B, T, H', W') int64.
        names: B tuples of T frame names.
    """

    frames: Tensor
    masks: Tensor
    names: list[tuple[str, ...]]


class ClipSource(Protocol):
    """A data set of clips.

    Attributes:
        classes: Names of the K classes, in the order of their ids.
        palette: RGB colour of each class.
        length: Frames per clip, T.
        runs: Run (unbroken piece of video) that each clip was cut from.
        frame_ids: For each clip the indices of its T frames inside its run.
        frame_seconds: Time from a frame of a run to the next; None where it is not known.
    """

    classes: tuple[str, ...]
    palette: tuple[Colour, ...]
    length: int
    runs: tuple[str, ...]
    frame_ids: tuple[tuple[int, ...], ...]
    frame_seconds: float | None

    def __len__(self) -> int:
        """Number of clips."""
        ...

    def __getitem__(self, index: int) -> RawClip:
        """Read one clip.

        Raises:
            DataError: A file cannot be used.
        """
        ...

    def fingerprint(self) -> str:
        """Hexadecimal digest that changes whenever the clips or their content may have changed."""
        ...


def collate(clips: Sequence[Clip]) -> ClipBatch:
    """Stack clips of equal size into a batch."""
    return ClipBatch(
        torch.stack([clip.frames for clip in clips]),
        torch.stack([clip.masks for clip in clips]),
        [clip.names for clip in clips],
    )
