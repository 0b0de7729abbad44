"""Building blocks that the decoder and the cells share, and how planes of different strides are aligned.

Strides round up: a plane of stride s has ceil(H / s) rows, which cover s * ceil(H / s) pixels instead of H. Row i of it
covers the rows r i to r i + r - 1 of a plane whose stride is r times finer. So a plane is enlarged by exactly r and
then cropped to the finer plane. If it were stretched to that size, its content would drift, more and more towards the
bottom and the right. (The strided convolutions have kernel 3 and padding 1, so they centre row i on the first of those
r rows instead of their middle. This shift is the same everywhere, so weights can learn it.)

Legend: B clips, C channels, H, W size of the frame or finer plane, h, w size of a plane, K classes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vseg_nas.space.vocabulary import DEC_STRIDE

_BAND = 8  # number of rows of logits that `label_map` enlarges at a time
_SMALL = 128  # planes with a smaller sum of height and width are enlarged by torch with other roundings


def conv_bn_relu(c_in: int, c_out: int, kernel: int = 1, dilation: int = 1) -> nn.Sequential:
    """Returns convolution without bias, batch norm and ReLU, from (B, c_in, H, W) to (B, c_out, H, W)."""
    padding = dilation * (kernel // 2)
    return nn.Sequential(
        nn.Conv2d(c_in, c_out, kernel, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(c_out),
        nn.ReLU(inplace=True),
    )


def enlarge(x: Tensor, ratio: int, size: tuple[int, int]) -> Tensor:
    """Enlarges a plane bilinearly by the ratio of the strides, corners not aligned, and crops it to a finer plane.

    Args:
        x: (B, C, h, w) plane.
        ratio: The stride of the plane over that of the finer one; 1 returns the same tensor.
        size: H and W of the finer plane, where h = ceil(H / ratio) and w = ceil(W / ratio).

    Returns:
        (B, C, H, W) enlarged plane.
    """
    if ratio == 1:
        return x
    covered = ratio * x.shape[-2], ratio * x.shape[-1]
    enlarged = F.interpolate(x, covered, mode="bilinear", align_corners=False)
    height, width = size
    if torch.compiler.is_exporting():  # slicing would fix in the graph whether anything is cropped
        rows, columns = (torch.arange(side, device=x.device) for side in size)
        return enlarged.index_select(-2, rows).index_select(-1, columns)
    return enlarged[..., :height, :width]


def enlarge_to_finest(planes: Sequence[Tensor], strides: Sequence[int]) -> list[Tensor]:
    """Enlarges planes (B, C_i, h_i, w_i) of different strides to the plane of the smallest stride among them."""
    finest = min(strides)
    size = planes[strides.index(finest)].shape[-2:]
    return [enlarge(x, stride // finest, (size[0], size[1])) for x, stride in zip(planes, strides, strict=True)]


def stride_of(logits: Tensor, frame: tuple[int, int]) -> int:
    """Returns the stride of logits (B, K, h, w) of frames of a height and width; 1 if they have been enlarged already.

    Raises:
        ValueError: The logits do not belong to frames of that size.
    """
    for stride in (1, DEC_STRIDE):
        if logits.shape[-2:] == tuple(-(-side // stride) for side in frame):
            return stride
    raise ValueError(f"logits: found a plane of {tuple(logits.shape[-2:])}, expected that of frames of {frame}")


def label_map(logits: Tensor, frame: tuple[int, int], size: tuple[int, int] | None = None) -> Tensor:
    """Enlarges logits and returns the most likely class of each pixel; of equally likely ones, the lower id.

    On a CPU it works on bands of rows where the result is the same to the bit: K planes of full size do not fit into
    the cache, a band of them does.

    Args:
        logits: (B, K, h, w) logits of stride 8, or of the size of the frames.
        frame: Height and width of the frames that the logits belong to.
        size: H and W of the labels, to which the frame is stretched; None means the size of the frame.

    Returns:
        (B, H, W) class ids, int64.

    Raises:
        ValueError: The logits do not belong to frames of that size.
    """
    size = size or frame
    stride, height = stride_of(logits, frame), logits.shape[-2]
    # Pixels of the labels that one value of the plane covers.
    down, across = (stride * new / side for new, side in zip(size, frame, strict=True))
    factor = int(down)
    exact = down == factor and not factor & (factor - 1)  # with powers of two, interpolation weights have no rounding
    if logits.is_cuda or not exact or size[1] <= _SMALL:
        return _largest(_sampled(logits, size, down, across))
    labels = torch.empty(logits.shape[0], *size, dtype=torch.int64, device=logits.device)
    for top in range(0, height, _BAND):
        bottom = min(top + _BAND, height)
        first, last = max(top - 1, 0), min(bottom + 1, height)  # with the rows beside it, which its edges need
        begin, end = top * factor, min(bottom * factor, size[0])
        rows = _sampled(logits[:, :, first:last], ((last - first) * factor, size[1]), down, across)
        labels[:, begin:end] = _largest(rows[:, :, begin - first * factor : end - first * factor])
    return labels


def _sampled(x: Tensor, size: tuple[int, int], down: float, across: float) -> Tensor:
    """Enlarges a plane bilinearly by factors that may be fractions, and returns its first rows and columns."""
    out: Tensor = torch.ops.aten.upsample_bilinear2d.default(x, list(size), False, down, across)
    return out


def _largest(logits: Tensor) -> Tensor:
    return logits.max(1).indices  # the same as argmax, which takes nine times as long on a CPU


class PooledBatchNorm(nn.BatchNorm2d):
    """Batch norm after a global pool, which can train on a batch of a single item.

    A single item has one value per channel, and so no variance. In that case the running statistics are used and not
    changed. If several ranks train together, their batches count as one, see `vseg_nas.training.collectives`.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Normalises (B, C, 1, 1)."""
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
        """Pools (B, C, H, W) to (B, C, H, W), which is constant over each plane."""
        return F.relu(self.norm(self.conv(x.mean((2, 3), keepdim=True)))).expand_as(x)
