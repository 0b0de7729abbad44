"""Optical flow from each frame back to the one before, and moving maps along it.

Legend: B frames, C channels, H, W size of the flow, h, w size of a map. Flow is (B, 2, H, W), (dx, dy) in pixels: what
lies at (x, y) in the current frame lay at (x + dx, y + dy) in the previous one.
"""

from typing import Any, Literal

import cv2
import torch
from torch import Tensor
from torch.nn import functional

from vseg_nas.normalisation import IMAGENET_MEAN, IMAGENET_STD

SMALLEST_SIDE = 16
"""Pixels; on frames below it DIS, whose patches are 8 wide, reads outside its memory."""

_LUMA = (0.299, 0.587, 0.114)  # ITU-R BT.601, as in OpenCV's RGB to grey


@torch.no_grad()
def dis_flow(current: Tensor, previous: Tensor) -> Tensor:
    """Flow by dense inverse search (OpenCV's DIS, medium preset), computed on the CPU.

    Args:
        current: (B, 3, H, W) RGB frames, normalised with ImageNet's statistics.
        previous: the frames before them, likewise.

    Returns:
        (B, 2, H, W) float32 flow in pixels, on the device of `current`.

    Raises:
        ValueError: frames of different shapes, or smaller than `SMALLEST_SIDE`.
    """
    if current.shape != previous.shape or min(current.shape[-2:]) < SMALLEST_SIDE:
        found = f"{tuple(current.shape)} and {tuple(previous.shape)}"
        raise ValueError(f"flow: found frames {found}, expected equal shapes, {SMALLEST_SIDE} pixels or more a side")
    # Made anew each time, since it tunes itself to the size; Any, since its stubs demand a flow to start from.
    search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    pairs = zip(_grey(current).numpy(), _grey(previous).numpy(), strict=True)
    flow = torch.stack([torch.from_numpy(search.calc(now, before, None)) for now, before in pairs])
    return flow.permute(0, 3, 1, 2).contiguous().to(current.device)


def warp(previous: Tensor, flow: Tensor, mode: Literal["bilinear", "nearest"] = "bilinear") -> Tensor:
    """Moves a map of the previous frame onto the current one: result(x, y) = previous(x + dx, y + dy).

    Zero flow gives back `previous` exactly. Sources outside the frame take the value at its border.

    Args:
        previous: (B, C, h, w) map; any type for `nearest`, floating point for `bilinear`.
        flow: (B, 2, h, w) in pixels of the map; see `shrink_flow` and `resize_flow`.
        mode: `nearest` takes the pixel that holds the source point, `bilinear` mixes the four around it.

    Returns:
        (B, C, h, w), of the type of `previous`.
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
    """Brings flow to the plane of a network whose stride is ``ratio`` times its own.

    Averages vectors, bilinearly, and scales them to steps of the plane. The plane may reach beyond the flow, whose
    border goes on there.

    Args:
        flow: (B, 2, H, W) in pixels of its own size.
        ratio: of the strides.

    Returns:
        (B, 2, ceil(H / ratio), ceil(W / ratio)) in pixels of the plane.
    """
    height, width = (-(-side // ratio) for side in flow.shape[-2:])
    beyond = (0, width * ratio - flow.shape[-1], 0, height * ratio - flow.shape[-2])
    covering = functional.pad(flow, beyond, "replicate") if any(beyond) else flow
    return resize_flow(covering, covering.new_empty(height, width))


def resize_flow(flow: Tensor, like: Tensor) -> Tensor:
    """Stretches flow to a map of the same frame: averages vectors, bilinearly, and scales them to the map's pixels.

    Args:
        flow: (B, 2, H, W) in pixels of its own size.
        like: (..., h, w) map.

    Returns:
        (B, 2, h, w) in pixels of the map.
    """
    (height, width), (new_height, new_width) = flow.shape[-2:], like.shape[-2:]
    if (height, width) == (new_height, new_width):
        return flow
    scale = flow.new_tensor([new_width / width, new_height / height]).view(2, 1, 1)
    return functional.interpolate(flow, (new_height, new_width), mode="bilinear", antialias=True) * scale


def inside(flow: Tensor) -> Tensor:
    """Tells where the source point lies within the previous frame, pixels being squares of side 1.

    Args:
        flow: (B, 2, H, W) in pixels.

    Returns:
        (B, H, W) bool.
    """
    height, width = flow.shape[-2:]
    x, y = (_nearest(part) for part in _sources(flow))
    return (x >= 0) & (x < width) & (y >= 0) & (y < height)


def _grey(frames: Tensor) -> Tensor:
    """Turn normalised (B, 3, H, W) into uint8 grey (B, H, W) on the CPU."""
    luma, mean, std = (torch.tensor(values).view(3, 1, 1) for values in (_LUMA, IMAGENET_MEAN, IMAGENET_STD))
    grey = (luma * (frames.cpu().float() * std + mean)).sum(1)
    return grey.mul(255).round().clamp(0, 255).to(torch.uint8)


def _sources(flow: Tensor) -> tuple[Tensor, Tensor]:
    """Columns and rows, (B, H, W) each, of the points that the flow leads to."""
    height, width = flow.shape[-2:]
    columns = torch.arange(width, device=flow.device)
    rows = torch.arange(height, device=flow.device).unsqueeze(1)
    x, y = flow.float().unbind(1)  # half precision has no fractions of large columns
    return columns + x, rows + y


def _nearest(position: Tensor) -> Tensor:
    """The pixel of a position; halves go up, where rounding to even would double one pixel and skip the next."""
    return (position + 0.5).floor()


def _pixels(previous: Tensor, x: Tensor, y: Tensor) -> Tensor:
    """Values of (B, C, h, w) at whole positions (B, h, w)."""
    index = (y * previous.shape[-1] + x).long().flatten(1).unsqueeze(1)
    return previous.flatten(2).gather(2, index.expand(-1, previous.shape[1], -1)).view_as(previous)
