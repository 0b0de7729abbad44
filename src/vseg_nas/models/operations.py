"""The operations of Table 1: (B, C, H, W) to (B, C, H, W), for any B, H and W.

Legend: B clips, C channels, H, W size of the plane.
"""

from collections.abc import Callable
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vseg_nas.models.deform import DeformConv
from vseg_nas.models.layers import GlobalAveragePool
from vseg_nas.space.vocabulary import OPERATIONS


class DilatedDepthwise(nn.Conv2d):
    """A dilated depthwise convolution that keeps the size of its input.

    On CPUs it uses `convolve_interleaved` where that is faster: for 5x5 kernels, and for 3x3 kernels if there will be
    a backward pass.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, C, H, W)."""
        faster = self.kernel_size[0] > 3 or torch.is_grad_enabled()
        if x.device.type == "cpu" and faster and not torch.compiler.is_exporting():
            return convolve_interleaved(x, self.weight, self.bias, self.dilation[0])
        return super().forward(x)


def convolve_interleaved(x: Tensor, weight: Tensor, bias: Tensor | None, rate: int) -> Tensor:
    """Computes a depthwise convolution of dilation ``rate`` as one without dilation; x is zero outside.

    OneDNN has fast kernels, forward and backward, for convolutions without dilation only. The taps of a pixel lie in
    every ``rate``-th row and column. So x consists of ``rate`` x ``rate`` interleaved maps that never meet, and each of
    them can be convolved by itself.

    Args:
        x: (B, C, H, W) input.
        weight: (C, 1, k, k) kernels, k odd.
        bias: (C,) bias; None for none.
        rate: The dilation.

    Returns:
        (B, C, H, W) output.
    """
    batch, channels, height, width = x.shape
    rows, columns = -(-height // rate), -(-width // rate)
    padded = F.pad(x, (0, columns * rate - width, 0, rows * rate - height)).permute(0, 2, 3, 1)
    maps = padded.reshape(batch, rows, rate, columns, rate, channels).permute(0, 2, 4, 1, 3, 5)
    maps = maps.reshape(-1, rows, columns, channels).permute(0, 3, 1, 2)
    out = F.conv2d(maps, weight, bias, padding=weight.shape[-1] // 2, groups=channels).permute(0, 2, 3, 1)
    interleaved = out.reshape(batch, rate, rate, rows, columns, channels).permute(0, 3, 1, 4, 2, 5)
    joined = interleaved.reshape(batch, rows * rate, columns * rate, channels)[:, :height, :width]
    return joined.permute(0, 3, 1, 2)


class SepConv(nn.Sequential):
    """Depthwise convolution of dilation ``rate``, 1x1 convolution, batch norm, ReLU."""

    def __init__(self, channels: int, kernel: int, rate: int = 1) -> None:
        padding = rate * (kernel // 2)
        depthwise = nn.Conv2d if rate == 1 else DilatedDepthwise
        super().__init__(
            depthwise(channels, channels, kernel, padding=padding, dilation=rate, groups=channels, bias=False),
            nn.Conv2d(channels, channels, 1, bias=False),
            nn.BatchNorm2d(channels),
            nn.ReLU(inplace=True),
        )


_BUILDERS: dict[str, Callable[[int], nn.Module]] = {
    "sep_conv_3x3": partial(SepConv, kernel=3),
    "global_avg_pool": GlobalAveragePool,
    "sep_conv_3x3_rate_3": partial(SepConv, kernel=3, rate=3),
    "sep_conv_5x5_rate_6": partial(SepConv, kernel=5, rate=6),
    "skip": nn.Identity,
    "deform_conv_3x3": DeformConv,
}


def build_operation(op_id: int, channels: int) -> nn.Module:
    """Returns the operation with index ``op_id`` in the vocabulary, for inputs of C = ``channels``."""
    return _BUILDERS[OPERATIONS[op_id]](channels)
