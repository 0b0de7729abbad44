"""Building blocks that the decoder and the cells share.

Legend: B clips, C channels, H, W.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

_BAND = 8  # rows of logits that `label_map` enlarges at a time
_SMALL = 128  # height and width of planes, added up, that torch enlarges with other roundings


def conv_bn_relu(c_in: int, c_out: int, kernel: int = 1, dilation: int = 1) -> nn.Sequential:
    """Convolution without bias, batch norm, ReLU; (B, c_in, H, W) -> (B, c_out, H, W)."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(c_out),
        nn.ReLU(inplace=True),
    )


def resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    """Bilinear resize of (B, C, H, W) to ``size``, corners not aligned; the same tensor where nothing changes."""
    if x.shape[-2:] == size:
        return x
    return F.interpolate(x, size, mode="bilinear", align_corners=False)


def label_map(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Class ids (B, H, W) of logits (B, K, h, w), resized to ``size``; the lower id where two are equally likely.

    On a CPU band by band, where that gives the same bits: a full-size float copy of every class leaves the cache.
    """
    height, factor = logits.shape[-2], size[0] // logits.shape[-2]
    exact = size[0] == height * factor and not factor & (factor - 1)  # powers of two make weights exact
    if logits.is_cuda or not exact or size[1] <= _SMALL:
        return _largest(resize(logits, size))
    labels = torch.empty(logits.shape[0], *size, dtype=torch.int64, device=logits.device)
    for top in range(0, height, _BAND):
        bottom = min(top + _BAND, height)
        first, last = max(top - 1, 0), min(bottom + 1, height)  # the rows beside the band, which its edges blend with
        rows = slice((top - first) * factor, (bottom - first) * factor)
        labels[:, top * factor : bottom * factor] = _largest(
            resize(logits[:, :, first:last], ((last - first) * factor, size[1]))[:, :, rows]
        )
    return labels


def _largest(logits: Tensor) -> Tensor:
    return logits.max(1).indices  # as argmax, which takes nine times as long on a CPU


def resize_to_largest(xs: Sequence[Tensor]) -> list[Tensor]:
    """Resizes every (B, C_i, H_i, W_i) to the largest H_i * W_i among them."""
    height, width = max((x.shape[-2:] for x in xs), key=lambda size: size[0] * size[1])
    return [resize(x, (height, width)) for x in xs]


class GlobalAveragePool(nn.Module):
    """Mean over the plane, 1x1 conv-BN-ReLU, broadcast back (Table 1, operation 1).

    One value per channel has no variance, so for a single item in training the batch norm uses its running statistics
    and leaves them unchanged.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), constant over each plane."""
        pooled = self.conv(x.mean((2, 3), keepdim=True))
        norm = self.norm
        if norm.training and x.shape[0] == 1:
            pooled = F.batch_norm(
                pooled, norm.running_mean, norm.running_var, norm.weight, norm.bias, False, 0.0, norm.eps
            )
        else:
            pooled = norm(pooled)
        return F.relu(pooled).expand_as(x)
