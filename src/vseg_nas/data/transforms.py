"""From stored clips to tensors; the only file that knows albumentations.

One draw per clip: every frame and mask of a clip gets the same scale, crop, mirror and colour change.
"""

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vseg_nas.data.clip import Clip, Image, RawClip
from vseg_nas.errors import ConfigError
from vseg_nas.labels import IGNORE
from vseg_nas.normalisation import IMAGENET_MEAN, IMAGENET_STD

PADDING = tuple(round(255 * mean) for mean in IMAGENET_MEAN)
"""Colour of padding: the mean of ImageNet, so 0 (within 0.01: whole steps of 1/255) once normalised."""

Size = tuple[int, int]


class ClipTransform:
    """Turns a `RawClip` into a `Clip`; made by `training`, `padded` or `resized`.

    Args:
        steps: Names and arguments of albumentations classes, applied in order.
        seed: Start of the stream of draws.
        masks: Whether the steps apply to the masks too; if not, masks stay at their native size.
    """

    def __init__(self, steps: Sequence[tuple[str, dict[str, Any]]], seed: int = 0, masks: bool = True) -> None:
        self._steps = tuple(steps)
        self._masks = masks
        self._compose = _compose(self._steps)
        self.set_seed(seed)

    def set_seed(self, seed: int) -> None:
        """Restart the stream of draws; equal seeds give equal streams."""
        self._compose.set_random_seed(seed % 2**32)

    def fingerprint(self) -> str:
        """Every parameter of the transform, without the seed."""
        return f"{self._steps} masks={self._masks} mean={IMAGENET_MEAN} std={IMAGENET_STD}"

    def __call__(self, raw: RawClip) -> Clip:
        """Transform a clip, taking the next draw of the stream."""
        arrays = {"images": np.stack(raw.frames), "masks": np.stack(raw.masks)}
        if self._masks:
            arrays = self._compose(**arrays)
        else:
            arrays |= self._compose(images=arrays["images"])
        masks = torch.from_numpy(np.ascontiguousarray(arrays["masks"])).long()
        return Clip(normalise(arrays["images"]), masks, raw.names)


def training(
    crop: Size, scale: tuple[float, float] = (1.0, 1.0), flip: bool = True, jitter: float = 0.0, seed: int = 0
) -> ClipTransform:
    """Random scale, pad to the crop where smaller, random crop, mirror (paper, sections 4.1 and 6).

    Args:
        crop: Height and width of the result.
        scale: Range that the scale factor is drawn from, uniformly.
        flip: Mirror every second clip, on average.
        jitter: Brightness, contrast and saturation are multiplied by factors from 1 - jitter to 1 + jitter.
        seed: Start of the stream of draws.

    Raises:
        ConfigError: A parameter is out of range.
    """
    low, high = scale
    if not 0 < low <= high:
        raise ConfigError(f"scale: found {low} to {high}, expected 0 < low <= high")
    if not 0 <= jitter < 1:
        raise ConfigError(f"jitter: found {jitter}, expected 0 <= jitter < 1")
    steps: list[tuple[str, dict[str, Any]]] = []
    if jitter:
        factors = (1 - jitter, 1 + jitter)
        colours = {"brightness": factors, "contrast": factors, "saturation": factors, "hue": (0, 0), "p": 1}
        steps.append(("ColorJitter", colours))
    if scale != (1.0, 1.0):
        steps.append(("RandomScale", {"scale_limit": (low - 1, high - 1), "p": 1} | _interpolation()))
    steps += [_pad(crop), ("RandomCrop", _sides(crop))]
    if flip:
        steps.append(("HorizontalFlip", {"p": 0.5}))
    return ClipTransform(steps, seed)


def padded(size: Size) -> ClipTransform:
    """Centred padding and centred crop to one size, without chance (paper, section 4.1: CamVid, 400x600).

    Args:
        size: Height and width of the result.

    Raises:
        ConfigError: The size is not positive.
    """
    return ClipTransform([_pad(size), ("CenterCrop", _sides(size))])


def resized(size: Size | None = None) -> ClipTransform:
    """For evaluation: frames at one size, masks at native size, without chance.

    Args:
        size: Height and width of the frames; None leaves them as they are.

    Raises:
        ConfigError: The size is not positive.
    """
    steps = [] if size is None else [("Resize", _sides(size) | _interpolation())]
    return ClipTransform(steps, masks=False)


def normalise(frames: Image) -> Tensor:
    """Turn uint8 RGB frames (T, H, W, 3) into float32 (T, 3, H, W) with ImageNet's statistics taken out."""
    mean = torch.tensor(IMAGENET_MEAN).mul(255).view(1, 3, 1, 1)
    std = torch.tensor(IMAGENET_STD).mul(255).view(1, 3, 1, 1)
    return torch.from_numpy(np.ascontiguousarray(frames.transpose(0, 3, 1, 2))).float().sub_(mean).div_(std)


def _sides(size: Size) -> dict[str, Any]:
    height, width = size
    if height < 1 or width < 1:
        raise ConfigError(f"size: found {height}x{width}, expected a positive height and width")
    return {"height": height, "width": width}


def _pad(size: Size) -> tuple[str, dict[str, Any]]:
    sides = _sides(size)
    return "PadIfNeeded", {
        "min_height": sides["height"],
        "min_width": sides["width"],
        "position": "center",
        "fill": PADDING,
        "fill_mask": IGNORE,
    }


def _interpolation() -> dict[str, Any]:
    """Cubic when frames grow, area when they shrink (no aliasing); masks: the nearest pixel by its centre."""
    import cv2

    return {
        "interpolation": cv2.INTER_CUBIC,
        "mask_interpolation": cv2.INTER_NEAREST_EXACT,
        "area_for_downscale": "image",
    }


def _compose(steps: Sequence[tuple[str, dict[str, Any]]]) -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # it asks the network for its newest version otherwise
    import albumentations

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # a misspelt argument would only warn
        return albumentations.Compose([getattr(albumentations, name)(**kwargs) for name, kwargs in steps])
