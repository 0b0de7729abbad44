"""Optical flow from each frame back to the previous one, and warping of maps along it.

Flow is a tensor (B, 2, H, W) of (dx, dy) in pixels: the point at (x, y) in the current frame was at (x + dx, y + dy) in
the previous frame.

Legend: B frames, C channels, H, W size of the flow, h, w size of a map.
"""

from typing import Any, Literal

import cv2
import torch
from torch import Tensor
from torch.nn import functional

from vseg_nas.normalisation import IMAGENET_MEAN, IMAGENET_STD

SMALLEST_SIDE = 16
"""Smallest height and width in pixels: on smaller frames DIS, whose patches are 8 wide, reads outside its memory."""

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in OpenCV's RGB to grey


@torch.no_grad()
def dis_flow(current: Tensor, previous: Tensor) -> Tensor:
    """Computes optical flow by dense inverse search (OpenCV's DIS, medium preset) on the CPU.

    Args:
        current: (B, 3, H, W) RGB frames, normalised with ImageNet's statistics.
        previous: (B, 3, H, W) the frame before each of them, normalised alike.

    Returns:
        (B, 2, H, W) float32 flow in pixels, on the device of `current`.

    Raises:
        ValueError: The frames differ in shape or are smaller than `SMALLEST_SIDE`.
    """
    if current.shape != previous.shape or min(current.shape[-2:]) < SMALLEST_SIDE:
        found = f"{tuple(current.shape)} and {tuple(previous.shape)}"
        raise ValueError(f"flow: found frames {found}, expected equal shapes, {SMALLEST_SIDE} pixels or more a side")
    # A new object for each call, because it tunes its parameters to the size of the frames. Typed as Any, because
    # OpenCV's stubs demand an initial flow.
    search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    pairs = zip(_grey(current).numpy(), _grey(previous).numpy(), strict=True)
    flow = torch.stack([torch.from_numpy(search.calc(now, before, None)) for now, before in pairs])
    return flow.permute(0, 3, 1, 2).contiguous().to(current.device)


def warp(previous: Tensor, flow: Tensor, mode: Literal["bilinear", "nearest"] = "bilinear") -> Tensor:
    """Warps a map of the previous frame onto the current one: result(x, y) = previous(x + dx, y + dy).

    Zero flow returns exactly `previous`. Where a source point lies outside the frame, the value at the border is taken.

    Args:
        previous: (B, C, h, w) map; of any type for `nearest`, of floating point for `bilinear`.
        flow: (B, 2, h, w) in pixels of the map; see `shrink_flow` and `resize_flow`.
        mode: `nearest` takes the pixel that contains the source point, `bilinear` interpolates the four around it.

    Returns:
        (B, C, h, w) warped map, of the type of `previous`.
    """
    height, width = previous.shape[-2:]
    x, y = _sources(flow)
    x, y = x.clamp(0, width - 1), y.clamp(0, height - 1)
    if mode == "nearest":
        return _pixels(previous, _nearest(x), _nearest(y))
    left, top = x.floor(), y.floor()
    right, bottom = (left + 1).clamp(max=width - 1), (top + 1).clamp(max=height - 1)
    across, down = (part.to(previous.dtype).unsqueeze(1) for part in (x - left, y - top))
    upper = torch.lerp(_pixels(previous, left, top), _pixels(previous, right, top), across)
    lower = torch.lerp(_pixels(previous, left, bottom), _pixels(previous, right, bottom), across)
    return torch.lerp(upper, lower, down)


def shrink_flow(flow: Tensor, ratio: int) -> Tensor:
    """Shrinks flow to a feature plane whose stride is ``ratio`` times that of the flow.

    The vectors are averaged by antialiased bilinear interpolation and scaled to pixels of the plane. Where a plane of
    rounded-up size reaches beyond the flow, the values at the border of the flow are repeated.

    Args:
        flow: (B, 2, H, W) in pixels of its own plane.
        ratio: The stride of the plane over that of the flow.

    Returns:
        (B, 2, ceil(H / ratio), ceil(W / ratio)) in pixels of the plane.
    """
    height, width = (-(-side // ratio) for side in flow.shape[-2:])
    beyond = (0, width * ratio - flow.shape[-1], 0, height * ratio - flow.shape[-2])
    covering = functional.pad(flow, beyond, "replicate") if any(beyond) else flow
    return resize_flow(covering, covering.new_empty(height, width))


def resize_flow(flow: Tensor, like: Tensor) -> Tensor:
    """Resizes flow to another map of the same frame and scales the vectors to pixels of that map.

    Args:
        flow: (B, 2, H, W) in pixels of its own plane.
        like: (..., h, w) map; only its size is used.

    Returns:
        (B, 2, h, w) in pixels of the map.
    """
    (height, width), (new_height, new_width) = flow.shape[-2:], like.shape[-2:]
    if (height, width) == (new_height, new_width):
        return flow
    scale = flow.new_tensor([new_width / width, new_height / height]).view(2, 1, 1)
    return functional.interpolate(flow, (new_height, new_width), mode="bilinear", antialias=True) * scale


def inside(flow: Tensor) -> Tensor:
    """Returns where the source point lies inside the previous frame, taking pixels as squares of side 1.

    Args:
        flow: (B, 2, H, W) in pixels.

    Returns:
        (B, H, W) bool.
    """
    height, width = flow.shape[-2:]
    x, y = (_nearest(part) for part in _sources(flow))
    return (x >= 0) & (x < width) & (y >= 0) & (y < height)


def _grey(frames: Tensor) -> Tensor:
    """Converts normalised RGB (B, 3, H, W) to grey uint8 (B, H, W) on the CPU."""
    luma, mean, std = (torch.tensor(values).view(3, 1, 1) for values in (_LUMA, IMAGENET_MEAN, IMAGENET_STD))
    grey = (luma * (frames.cpu().float() * std + mean)).sum(1)
    return grey.mul(255).round().clamp(0, 255).to(torch.uint8)


def _sources(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the columns and the rows, (B, H, W) each, of the points that the flow leads to."""
    height, width = flow.shape[-2:]
    columns = torch.arange(width, device=flow.device)
    rows = torch.arange(height, device=flow.device).unsqueeze(1)
    x, y = flow.float().unbind(1)  # half precision cannot hold fractions of large column numbers
    return columns + x, rows + y


def _nearest(position: Tensor) -> Tensor:
    """Returns the nearest pixel. Halves are rounded up: rounding to even would take a pixel twice and skip the next."""
    return (position + 0.5).floor()


def _pixels(previous: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Returns the values of a map (B, C, h, w) at integer positions, (B, h, w) each."""
    index = (y * previous.shape[-1] + x).long().flatten(1).unsqueeze(1)
    return previous.flatten(2).gather(2, index.expand(-1, previous.shape[1], -1)).view_as(previous)
