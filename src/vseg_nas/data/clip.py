"""The forms of a clip: as a data set stores it, as a transform returns it, and in a batch.

Legend: B clips, T frames, H, W pixels.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from vseg_nas.labels import Colour
from vseg_nas.pictures import Image


@dataclass(frozen=True)
class RawClip:
    """A clip as it is stored: consecutive frames and their masks.

    Attributes:
        frames: T arrays (H, W, 3), uint8, RGB.
        masks: T arrays (H, W) of uint8 class ids; all values are `IGNORE` if a frame has no annotation.
        names: The names of the T frames.
    """

    frames: tuple[Image, ...]
    masks: tuple[Image, ...]
    names: tuple[str, ...]


@dataclass(frozen=True)
class Clip:
    """A clip that is ready for a network.

    Attributes:
        frames: (T, 3, H, W) float32, normalised with ImageNet's mean and standard deviation.
        masks: (T, H', W') int64 class ids; H', W' differ from H, W only if the transform keeps masks at native size.
        names: The names of the T frames.
    """

    frames: Tensor
    masks: Tensor
    names: tuple[str, ...]


class ClipBatch(NamedTuple):
    """A batch of B clips of equal size. As a NamedTuple it is pinned by loaders and moved to a device by Lightning.

    Attributes:
        frames: (B, T, 3, H, W) float32, normalised.
        masks: (B, T, H', W') int64 class ids.
        names: B tuples of T frame names.
    """

    frames: Tensor
    masks: Tensor
    names: list[tuple[str, ...]]


class ClipSource(Protocol):
    """A data set of clips.

    Attributes:
        classes: The names of the K classes, in the order of their ids.
        palette: The RGB colour of each class.
        length: The number of frames in a clip, T.
        sequences: The name of the sequence (unbroken piece of video) that each clip was cut from.
        frame_ids: The indices of the T frames of each clip within its sequence.
        frame_seconds: The time from a frame of a sequence to the next, in seconds; None if it is not known.
    """

    classes: tuple[str, ...]
    palette: tuple[Colour, ...]
    length: int
    sequences: tuple[str, ...]
    frame_ids: tuple[tuple[int, ...], ...]
    frame_seconds: float | None

    def __len__(self) -> int:
        """Returns the number of clips."""
        ...

    def __getitem__(self, index: int) -> RawClip:
        """Reads one clip.

        Raises:
            DataError: A file cannot be used.
        """
        ...

    def fingerprint(self) -> str:
        """Returns a hexadecimal digest that changes whenever the clips or their content may have changed."""
        ...


def collate(clips: Sequence[Clip]) -> ClipBatch:
    """Stacks clips of equal size into a batch."""
    return ClipBatch(
        torch.stack([clip.frames for clip in clips]),
        torch.stack([clip.masks for clip in clips]),
        [clip.names for clip in clips],
    )
