"""Transforms that turn stored clips into tensors; the only module that imports albumentations.

The random parameters are drawn once per clip: all its frames and masks get the same scale, crop, flip and colours.
Otherwise the augmentation would look like motion.
"""

import os
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from vseg_nas.data.clip import Clip, RawClip
from vseg_nas.data.motion import MotionSimulation
from vseg_nas.errors import ConfigError
from vseg_nas.labels import IGNORE
from vseg_nas.normalisation import IMAGENET_MEAN, IMAGENET_STD
from vseg_nas.pictures import Image, Size

PADDING = tuple(round(255 * mean) for mean in IMAGENET_MEAN)
"""Colour of padding: ImageNet's mean, rounded to whole values, so that it is 0 within 0.01 after normalisation."""


class ClipTransform:
    """Turns a `RawClip` into a `Clip`; made by `training`, `padded` or `resized`.

    Args:
        steps: The names and arguments of albumentations classes, applied in order.
        seed: The seed of the random parameters.
        masks: Whether the steps apply to the masks too; if not, masks stay at their native size.
        motion: Makes clips of several frames from clips of one frame before all steps; None leaves them as they are.
    """

    def __init__(
        self,
        steps: Sequence[tuple[str, dict[str, Any]]],
        seed: int = 0,
        masks: bool = True,
        motion: MotionSimulation | None = None,
    ) -> None:
        self._steps = tuple(steps)
        self._masks = masks
        self._motion = motion
        self._compose = _compose(self._steps)
        self.set_seed(seed)

    def set_seed(self, seed: int) -> None:
        """Restarts the random parameters; equal seeds give equal transforms of the next clips."""
        self._compose.set_random_seed(seed % 2**32)
        self._motion_rng = np.random.default_rng(seed % 2**32)

    def fingerprint(self) -> str:
        """Returns all parameters of the transform except the seed, as text."""
        made = "" if self._motion is None else f"{self._motion.fingerprint()}, then "
        return f"{made}{self._steps} masks={self._masks} mean={IMAGENET_MEAN} std={IMAGENET_STD}"

    def __call__(self, raw: RawClip) -> Clip:
        """Transforms a clip with the next random parameters."""
        if self._motion is not None and len(raw.frames) == 1:
            raw = self._motion(raw, self._motion_rng)
        # One call for the whole clip, because albumentations draws its random parameters once per call.
        arrays = {"images": np.stack(raw.frames), "masks": np.stack(raw.masks)}
        if self._masks:
            arrays = self._compose(**arrays)
        else:
            arrays |= self._compose(images=arrays["images"])
        masks = torch.from_numpy(np.ascontiguousarray(arrays["masks"])).long()
        return Clip(normalise(arrays["images"]), masks, raw.names)


def training(
    crop: Size,
    scale: tuple[float, float] = (1.0, 1.0),
    flip: bool = True,
    jitter: float = 0.0,
    seed: int = 0,
    motion: MotionSimulation | None = None,
) -> ClipTransform:
    """Returns the training transform: colour jitter, random scale, padding, random crop, flip (sections 4.1 and 6).

    Args:
        crop: Height and width of the result in pixels; smaller frames are padded to it.
        scale: The range of the scale factor, which is drawn uniformly.
        flip: Whether clips are mirrored with probability 1/2.
        jitter: Brightness, contrast and saturation are multiplied by factors between 1 - jitter and 1 + jitter.
        seed: The seed of the random parameters.
        motion: See `ClipTransform`.

    Raises:
        ConfigError: A parameter is out of range.
    """
    low, high = scale
    if not 0 < low <= high:
        raise ConfigError(f"scale: found {low} to {high}, expected 0 < low <= high")
    if not 0 <= jitter < 1:
        raise ConfigError(f"jitter: found {jitter}, expected 0 <= jitter < 1")
    steps: list[tuple[str, dict[str, Any]]] = []
    if jitter:  # before padding, whose colour has to stay the mean
        factors = (1 - jitter, 1 + jitter)
        colours = {"brightness": factors, "contrast": factors, "saturation": factors, "hue": (0, 0), "p": 1}
        steps.append(("ColorJitter", colours))
    if scale != (1.0, 1.0):
        steps.append(("RandomScale", {"scale_limit": (low - 1, high - 1), "p": 1} | _interpolation()))
    steps += [_pad(crop), ("RandomCrop", _sides(crop))]
    if flip:
        steps.append(("HorizontalFlip", {"p": 0.5}))
    return ClipTransform(steps, seed, motion=motion)


def padded(size: Size) -> ClipTransform:
    """Returns a deterministic transform: centred padding and centred crop (section 4.1: CamVid, 400x600).

    Args:
        size: Height and width of the result in pixels.

    Raises:
        ConfigError: The size is not positive.
    """
    return ClipTransform([_pad(size), ("CenterCrop", _sides(size))])


def resized(size: Size | None = None, motion: MotionSimulation | None = None) -> ClipTransform:
    """Returns the deterministic transform of evaluations: it resizes frames and keeps masks at their native size.

    Args:
        size: Height and width of the frames in pixels; None leaves them as they are.
        motion: See `ClipTransform`.

    Raises:
        ConfigError: The size is not positive.
    """
    steps = [] if size is None else [("Resize", _sides(size) | _interpolation())]
    return ClipTransform(steps, masks=False, motion=motion)


def normalise(frames: Image) -> Tensor:
    """Converts uint8 RGB frames (T, H, W, 3) to float32 (T, 3, H, W), normalised with ImageNet's statistics."""
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
    """Returns the interpolation modes of resizing steps.

    Frames are enlarged by cubic interpolation and shrunk by averaging areas, which does not alias. Masks take the
    pixel whose centre is nearest.
    """
    import cv2

    return {
        "interpolation": cv2.INTER_CUBIC,
        "mask_interpolation": cv2.INTER_NEAREST_EXACT,
        "area_for_downscale": "image",
    }


def _compose(steps: Sequence[tuple[str, dict[str, Any]]]) -> Any:
    os.environ.setdefault("NO_ALBUMENTATIONS_UPDATE", "1")  # otherwise its import asks the network for a new version
    import albumentations

    with warnings.catch_warnings():
        warnings.simplefilter("error", UserWarning)  # albumentations only warns about misspelt arguments
        return albumentations.Compose([getattr(albumentations, name)(**kwargs) for name, kwargs in steps])
