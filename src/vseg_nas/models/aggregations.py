"""The aggregations of Table 2, and two for cells at video rate that align the past with the current frame or gate it.

Each maps two inputs (B, C, H, W) to one output (B, C, H, W), for any B, H and W.

Legend: B clips, C channels, H, W size of the plane.
"""

import math
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from vseg_nas.space.vocabulary import STREAMING


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
        kernels: (B, k * k, H, W) the kernel of each pixel, row by row; k is odd.

    Returns:
        (B, C, H, W) filtered map.
    """
    out: Tensor = _LocalFilter.apply(x, kernels)
    return out


def local_correlation(x1: Tensor, x2: Tensor, radius: int) -> Tensor:
    """Multiplies every vector of a map with all vectors of another map around the same place.

    Args:
        x1: (B, C, H, W) map.
        x2: (B, C, H, W) the other map; it is zero outside.
        radius: The largest distance of rows and of columns, r.

    Returns:
        (B, (2 r + 1)^2, H, W) dot products over the channels, by offset into the other map, row by row.
    """
    out: Tensor = _LocalCorrelation.apply(x1, x2, radius)
    return out


class _LocalFilter(torch.autograd.Function):
    """The weighted sum of k * k shifted views of one padded map, with a gradient written by hand.

    `unfold` would keep k * k copies of the map for the backward pass. Autograd on views would allocate k * k maps of
    zeros there. This keeps the padded map alone, and adds k * k gradients to one map.
    """

    @staticmethod
    def forward(ctx: Any, x: Tensor, kernels: Tensor) -> Tensor:
        """Filters, see `local_filter`."""
        # Under autocast the map may be in half precision while the softmax has made the kernels float32.
        ctx.dtypes = x.dtype, kernels.dtype
        ctx.radius = math.isqrt(kernels.shape[1]) // 2
        dtype = torch.promote_types(*ctx.dtypes)
        padded, kernels = F.pad(x, (ctx.radius,) * 4).to(dtype), kernels.to(dtype)
        ctx.save_for_backward(padded, kernels)
        return _gathered(padded, kernels, ctx.radius)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """Returns the gradients of the map and of the kernels."""
        padded, kernels = ctx.saved_tensors
        x_gradient = _scattered(gradient, kernels, padded, ctx.radius)
        kernel_gradient = _correlated(gradient, padded, ctx.radius)
        return x_gradient.to(ctx.dtypes[0]), kernel_gradient.to(ctx.dtypes[1])


class _LocalCorrelation(torch.autograd.Function):
    """Dot products with shifted views of one padded map; as lean as `_LocalFilter`, of which it is the gradient."""

    @staticmethod
    def forward(ctx: Any, x1: Tensor, x2: Tensor, radius: int) -> Tensor:
        """Correlates, see `local_correlation`."""
        ctx.dtype, ctx.radius = x1.dtype, radius
        dtype = torch.promote_types(x1.dtype, torch.float32)  # under autocast both maps are in half precision
        x1, padded = x1.to(dtype), F.pad(x2, (radius,) * 4).to(dtype)
        ctx.save_for_backward(x1, padded)
        return _correlated(x1, padded, radius)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, Tensor, None]:
        """Returns the gradients of both maps."""
        x1, padded = ctx.saved_tensors
        of_x1, of_x2 = _gathered(padded, gradient, ctx.radius), _scattered(x1, gradient, padded, ctx.radius)
        return of_x1.to(ctx.dtype), of_x2.to(ctx.dtype), None


def _shifted(padded: Tensor, radius: int) -> Iterator[Tensor]:
    """Returns all shifted views of a map with a border of ``radius`` pixels, row by row."""
    height, width, side = padded.shape[-2] - 2 * radius, padded.shape[-1] - 2 * radius, 2 * radius + 1
    return (padded[:, :, i : i + height, j : j + width] for i in range(side) for j in range(side))


def _gathered(padded: Tensor, kernels: Tensor, radius: int) -> Tensor:
    """Returns the sum of the shifted views of a padded map, each times one plane of the kernels."""
    (first, weight), *others = zip(_shifted(padded, radius), kernels.unsqueeze(2).unbind(1), strict=True)
    out = first * weight
    for view, weight in others:
        out.addcmul_(view, weight)
    return out


def _scattered(x: Tensor, kernels: Tensor, padded: Tensor, radius: int) -> Tensor:
    """Returns what `_gathered` does to a gradient on the way back: a map like ``padded``, without its border."""
    sums = torch.zeros_like(padded)
    for view, weight in zip(_shifted(sums, radius), kernels.unsqueeze(2).unbind(1), strict=True):
        view.addcmul_(x, weight)
    return sums[:, :, radius : sums.shape[-2] - radius, radius : sums.shape[-1] - radius]


def _correlated(x: Tensor, padded: Tensor, radius: int) -> Tensor:
    """Returns the products of a map with the shifted views of a padded map, summed over the channels."""
    return torch.stack([(x * view).sum(1) for view in _shifted(padded, radius)], 1)


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


class Align(nn.Module):
    """Moves x2, of the past, onto x1, of the current frame, by attention within a window.

    Each output is a weighted mean of the vectors of x2 around its place, so features are moved but not changed::

        weights = softmax over o of (q(x1)(p) . k(x2)(p + o) / sqrt(D) + bias(o)),    out(p) = sum over o of w x2(p + o)

    with 1x1 convolutions q and k to D channels, and offsets o of at most `RADIUS` rows and columns. Neighbours outside
    the plane have no weight. The bias of the centre starts at 4, which gives it a weight of about 0.7.
    """

    RADIUS = 2  # at 1/8; at 15 frames a second 90 % of motion is 1.5 pixels there or less
    CHANNELS = 16  # D

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.query = nn.Conv2d(channels, self.CHANNELS, 1, bias=False)
        self.key = nn.Conv2d(channels, self.CHANNELS, 1, bias=False)
        self.bias = nn.Parameter(torch.zeros((2 * self.RADIUS + 1) ** 2, 1, 1))
        with torch.no_grad():
            self.bias[len(self.bias) // 2] = 4.0

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Finds x2 in x1 and moves it there."""
        products = local_correlation(self.query(x1), self.key(x2), self.RADIUS)
        scores = products / math.sqrt(self.CHANNELS) + self.bias
        inside = F.pad(scores.new_zeros(1, 1, *scores.shape[-2:]), (self.RADIUS,) * 4, value=-math.inf)
        scores = scores + torch.cat(list(_shifted(inside, self.RADIUS)), 1)
        return local_filter(x2, scores.softmax(1))

    def window_macs(self, x1: Tensor, x2: Tensor) -> int:
        """Returns the multiply-accumulate operations of dot products and means, which are no matrix products here."""
        return len(self.bias) * (self.CHANNELS * x1[:, 0].numel() + x2.numel())


class GatedResidual(nn.Module):
    """``x1 + sigmoid(gate) * x2``, where a 1x1 convolution of both inputs gives the gate of each value.

    Its weights start at 0 and its bias at -3, so training begins with x1 and 0.05 of x2.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gate = nn.Conv2d(2 * channels, channels, 1)
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, -3.0)  # type: ignore[arg-type]

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Adds what the gate lets through of x2."""
        shares: Tensor = self.gate(torch.cat((x1, x2), 1)).sigmoid()
        return x1 + shares * x2


_BUILDERS: dict[str, Callable[[int], nn.Module]] = {
    "param_sum": ParamSum,
    "concat": Concat,
    "predictive": Predictive,
    "affine_bilinear": AffineBilinear,
    "conv_3d": Conv3d,
    "dense_attention": lambda _: DenseAttention(),
    "align": Align,
    "gated_residual": GatedResidual,
}


def build_aggregation(agg_id: int, channels: int) -> nn.Module:
    """Returns the aggregation with index ``agg_id`` in the vocabulary, for inputs of C = ``channels``."""
    return _BUILDERS[STREAMING.aggregations[agg_id]](channels)  # in which the paper's have the same indices
