"""Building blocks that the decoder and the cells share, and how planes of different strides meet.

Strides round up: a plane of stride s has ceil(H / s) rows, which cover s * ceil(H / s) pixels, not H. Row i of it lies
over the rows r i to r i + r - 1 of a plane whose stride is r times finer, wherever on the frame that is. So a plane is
enlarged by r and cut to the finer one; stretched to its size, content would drift, the further down the more. (The
strided convolutions, of kernel 3 and padding 1, centre row i on the first of those r rows, not on their middle. That
distance is the same everywhere, so weights learn it.)

Legend: B clips, C channels, H, W, K classes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vseg_nas.space.vocabulary import DEC_STRIDE

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


def enlarge(x: Tensor, ratio: int, size: tuple[int, int]) -> Tensor:
    """Brings a plane to a finer one: bilinearly by the ratio of their strides, corners not aligned, and cut to it.

    Args:
        x: (B, C, h, w).
        ratio: of the strides; 1 gives the same tensor.
        size: H and W of the finer plane; h = ceil(H / ratio), w = ceil(W / ratio).

    Returns:
        (B, C, H, W).
    """
    if ratio == 1:
        return x
    covered = ratio * x.shape[-2], ratio * x.shape[-1]
    enlarged = F.interpolate(x, covered, mode="bilinear", align_corners=False)
    height, width = size
    if torch.compiler.is_exporting():  # a view would tie the sizes of the graph to whether anything is cut off here
        rows, columns = (torch.arange(side, device=x.device) for side in size)
        return enlarged.index_select(-2, rows).index_select(-1, columns)
    return enlarged[..., :height, :width]


def enlarge_to_finest(planes: Sequence[Tensor], strides: Sequence[int]) -> list[Tensor]:
    """Enlarges every (B, C_i, H_i, W_i) to the one of the smallest stride among them."""
    finest = min(strides)
    size = planes[strides.index(finest)].shape[-2:]
    return [enlarge(x, stride // finest, (size[0], size[1])) for x, stride in zip(planes, strides, strict=True)]


def stride_of(logits: Tensor, frame: tuple[int, int]) -> int:
    """Stride of logits (B, K, h, w) of frames of that height and width: 1 where they were brought to full size.

    Raises:
        ValueError: they are not of such frames.
    """
    for stride in (1, DEC_STRIDE):
        if logits.shape[-2:] == tuple(-(-side // stride) for side in frame):
            return stride
    raise ValueError(f"logits: found a plane of {tuple(logits.shape[-2:])}, expected that of frames of {frame}")


def label_map(logits: Tensor, frame: tuple[int, int], size: tuple[int, int] | None = None) -> Tensor:
    """Class ids (B, H, W) of logits (B, K, h, w); the lower id where two are equally likely.

    On a CPU band by band, where that gives the same bits: a full-size float copy of every class leaves the cache.

    Args:
        logits: of stride 8, or at full size.
        frame: height and width of the frames that they are of.
        size: H and W of the labels, to which the frame is stretched; None: those of the frame.

    Raises:
        ValueError: the logits are not of such frames.
    """
    size = size or frame
    stride, height = stride_of(logits, frame), logits.shape[-2]
    down, across = (stride * new / side for new, side in zip(size, frame, strict=True))  # pixels of the labels a cell
    factor = int(down)
    exact = down == factor and not factor & (factor - 1)  # powers of two make weights exact
    if logits.is_cuda or not exact or size[1] <= _SMALL:
        return _largest(_sampled(logits, size, down, across))
    labels = torch.empty(logits.shape[0], *size, dtype=torch.int64, device=logits.device)
    for top in range(0, height, _BAND):
        bottom = min(top + _BAND, height)
        first, last = max(top - 1, 0), min(bottom + 1, height)  # the rows beside the band, which its edges blend with
        begin, end = top * factor, min(bottom * factor, size[0])
        rows = _sampled(logits[:, :, first:last], ((last - first) * factor, size[1]), down, across)
        labels[:, begin:end] = _largest(rows[:, :, begin - first * factor : end - first * factor])
    return labels


def _sampled(x: Tensor, size: tuple[int, int], down: float, across: float) -> Tensor:
    """The first rows and columns, so many, of a plane enlarged bilinearly by factors that may be fractions."""
    out: Tensor = torch.ops.aten.upsample_bilinear2d.default(x, list(size), False, down, across)
    return out


def _largest(logits: Tensor) -> Tensor:
    return logits.max(1).indices  # as argmax, which takes nine times as long on a CPU


class PooledBatchNorm(nn.BatchNorm2d):
    """Batch norm after a global pool, where a single item has one value a channel, which has no variance.

    In training its running statistics then stand in, unchanged. Where several ranks train together the batch is that of
    all of them, so that single items on each are not: see `vseg_nas.training.collectives`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, 1, 1) -> (B, C, 1, 1)."""
        if self.training and x.shape[0] == 1:
            return F.batch_norm(x, self.running_mean, self.running_var, self.weight, self.bias, False, 0.0, self.eps)
        return super().forward(x)


class GlobalAveragePool(nn.Module):
    """Mean over the plane, 1x1 conv-BN-ReLU, broadcast back (Table 1, operation 1)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, 1, bias=False)
        self.norm = PooledBatchNorm(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W), constant over each plane."""
        return F.relu(self.norm(self.conv(x.mean((2, 3), keepdim=True)))).expand_as(x)
