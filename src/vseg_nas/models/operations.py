"""The operations of Table 1: (B, C, H, W) -> (B, C, H, W), any H and W, any B.

Legend: B clips, C channels, H, W.
"""

from collections.abc import Callable
from functools import partial

from torch import nn

from vseg_nas.models.deform import DeformConv
from vseg_nas.models.layers import GlobalAveragePool
from vseg_nas.space.vocabulary import OPERATIONS


class SepConv(nn.Sequential):
    """Depthwise convolution of dilation ``rate``, 1x1 convolution, batch norm, ReLU."""

    def __init__(self, channels: int, kernel: int, rate: int = 1) -> None:
        padding = rate * (kernel // 2)
        super().__init__(
            nn.Conv2d(channels, channels, kernel, padding=padding, dilation=rate, groups=channels, bias=False),
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
    """Operation ``op_id`` of the vocabulary for C = ``channels``."""
    return _BUILDERS[OPERATIONS[op_id]](channels)
