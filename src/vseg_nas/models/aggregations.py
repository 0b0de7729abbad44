"""The aggregations of Table 2: two inputs (B, C, H, W) to one output (B, C, H, W), for any B, H and W.

Legend: B clips, C channels, H, W size of the plane.
"""

from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from vseg_nas.space.vocabulary import AGGREGATIONS


class ParamSum(nn.Module):
    """``a * x1 + b * x2``, with one learned weight per channel and input; all start at 1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.a = nn.Parameter(torch.ones(channels, 1, 1))
        self.b = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Returns the weighted sum."""
        return self.a * x1 + self.b * x2


class Concat(nn.Module):
    """Concatenation, batch norm, ReLU, 1x1 convolution back to C channels."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm2d(2 * channels)
        self.conv = nn.Conv2d(2 * channels, channels, 1, bias=False)

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Concatenates the inputs and reduces their channels."""
        out: Tensor = self.conv(F.relu(self.norm(torch.cat((x1, x2), 1))))
        return out


class Predictive(nn.Module):
    """Filters x2 with a 3x3 kernel per pixel, shared by all channels, that a convolution predicts from x1.

    The nine weights of a pixel come from a softmax, so each output is a weighted mean of its neighbourhood: features
    are moved by up to a pixel, but neither amplified nor cancelled.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.kernels = nn.Conv2d(channels, 9, 3, padding=1)

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Predicts the kernels and applies them."""
        return local_filter(x2, self.kernels(x1).softmax(1))


def local_filter(x: Tensor, kernels: Tensor) -> Tensor:
    """Filters a map with a kernel of its own for each pixel; the map is zero outside.

    Args:
        x: (B, C, H, W) map.
        kernels: (B, 9, H, W) the 3x3 kernel of each pixel, row by row.

    Returns:
        (B, C, H, W) filtered map.
    """
    out: Tensor = _LocalFilter.apply(x, kernels)
    return out


class _LocalFilter(torch.autograd.Function):
    """The weighted sum of nine shifted views of one padded map, with a gradient written by hand.

    `unfold` would keep nine copies of the map for the backward pass. Autograd on views would allocate nine maps of
    zeros there. This keeps the padded map alone, and adds nine gradients to one map.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Tensor) -> Tensor:
        """Filters, see `local_filter`."""
        # Under autocast the map may be in half precision while the softmax has made the kernels float32.
        ctx.dtypes = x.dtype, kernels.dtype
        dtype = torch.promote_types(*ctx.dtypes)
        padded, kernels = F.pad(x, (1, 1, 1, 1)).to(dtype), kernels.to(dtype)
        ctx.save_for_backward(padded, kernels)
        (first, weight), *others = zip(_shifted(padded), kernels.unsqueeze(2).unbind(1), strict=True)
        out = first * weight
        for view, weight in others:
            out.addcmul_(view, weight)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the gradients of the map and of the kernels."""
        padded, kernels = ctx.saved_tensors
        padded_gradient = torch.zeros_like(padded)
        kernel_gradients = [(gradient * view).sum(1) for view in _shifted(padded)]
        for view, weight in zip(_shifted(padded_gradient), kernels.unsqueeze(2).unbind(1), strict=True):
            view.addcmul_(gradient, weight)
        x_gradient = padded_gradient[:, :, 1:-1, 1:-1]
        return x_gradient.to(ctx.dtypes[0]), torch.stack(kernel_gradients, 1).to(ctx.dtypes[1])


def _shifted(padded: Tensor) -> Iterator[Tensor]:
    """Returns the nine shifted views of a map with a border of one pixel, row by row."""
    height, width = padded.shape[-2] - 2, padded.shape[-1] - 2
    return (padded[:, :, i : i + height, j : j + width] for i in range(3) for j in range(3))


class AffineBilinear(nn.Module):
    """Samples x1 on an affine grid that two linear layers predict from the mean of x2; x1 is zero outside.

    The layers predict the deviation from the identity, and the last one starts at zero. So training begins with x1
    itself: a random affine map would move most features to the wrong place or out of the plane.
    """

    def __init__(self, channels: int, hidden: int = 32) -> None:
        super().__init__()
        # The layer before keeps its random weights: if its output were zero too, this one would get no gradient.
        last = nn.Linear(hidden, 6)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.deviation = nn.Sequential(nn.Linear(channels, hidden), nn.ReLU(inplace=True), last)

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Predicts the grid and samples."""
        grid = affine_grid(self.deviation(x2.mean((2, 3))), x1.shape[-2], x1.shape[-1])
        sampled = F.grid_sample(x1.to(grid.dtype), grid, "bilinear", "zeros", align_corners=False)
        return sampled.to(x1.dtype)


def affine_grid(deviation: Tensor, height: int, width: int) -> Tensor:
    """Returns the sampling grid of the affine map ``identity + deviation``, with corners not aligned.

    The grid is float32 at least. Under autocast, `torch.nn.functional.affine_grid` computes it in half precision,
    which is too coarse for positions.

    Args:
        deviation: (B, 6) deviation from the identity, row by row.
        height: H of the plane.
        width: W of the plane.

    Returns:
        (B, H, W, 2) positions (x, y) in -1..1.
    """
    dtype = torch.promote_types(deviation.dtype, torch.float32)
    x, y = ((2 * torch.arange(size, device=deviation.device, dtype=dtype) + 1) / size - 1 for size in (width, height))
    y = y[:, None]
    a, b, c, d, e, f = deviation[:, :, None, None].unbind(1)
    return torch.stack((x + (a * x + b * y + c), y + (d * x + e * y + f)), -1)


class Conv3d(nn.Module):
    """2x3x3 convolution over the two inputs stacked in depth, batch norm, ReLU.

    The kernel spans the whole depth of two, so this is one 3x3 convolution over the 2C concatenated channels.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2 * channels, channels, 3, padding=1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Stacks the inputs and convolves them."""
        return F.relu(self.norm(self.conv(torch.cat((x1, x2), 1))))


class DenseAttention(nn.Module):
    """``x1 * sigmoid(x2)``, without parameters."""

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Gates x1 by x2."""
        return x1 * x2.sigmoid()


_BUILDERS: dict[str, Callable[[int], nn.Module]] = {
    "param_sum": ParamSum,
    "concat": Concat,
    "predictive": Predictive,
    "affine_bilinear": AffineBilinear,
    "conv_3d": Conv3d,
    "dense_attention": lambda _: DenseAttention(),
}


def build_aggregation(agg_id: int, channels: int) -> nn.Module:
    """Returns the aggregation with index ``agg_id`` in the vocabulary, for inputs of C = ``channels``."""
    return _BUILDERS[AGGREGATIONS[agg_id]](channels)
