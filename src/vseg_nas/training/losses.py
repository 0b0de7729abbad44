"""Cross-entropy over labelled pixels.

Legend: B clips, K classes, H, W.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from vseg_nas.labels import IGNORE
from vseg_nas.models.layers import enlarge, stride_of
from vseg_nas.training.collectives import ranks, summed


def segmentation_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Mean cross-entropy over pixels that are not 255; 0, with gradient, where there is none.

    Where several ranks train together: the own part of the mean over all their pixels, times the number of ranks, so
    that the mean over ranks, which is what becomes of gradients, is that mean.

    Args:
        logits: (B, K, h, w).
        masks: (B, H, W) int64, of the size of the logits or of their frames, to which the logits are enlarged then.

    Raises:
        ValueError: they are of neither.
    """
    size = masks.shape[-2], masks.shape[-1]
    # In float32: autocast would interpolate logits in half precision.
    logits = enlarge(logits.float(), stride_of(logits, size), size)
    total = F.cross_entropy(logits, masks, ignore_index=IGNORE, reduction="sum")
    return total * ranks() / summed((masks != IGNORE).sum()).clamp(min=1)


def shrink_masks(masks: Tensor, ratio: int) -> Tensor:
    """Class ids at the centres of the cells of a plane whose stride is ``ratio`` times that of the masks, int64.

    By centres, since `enlarge` puts logits back there, and not by corners, half a cell away: labels of CamVid that go
    down to 1/8 and up again keep an mIoU of 0.82 by centres, of 0.72 by corners. A cell whose centre lies beyond the
    masks takes their last row or column.

    Args:
        masks: (B, H, W).
        ratio: of the strides.

    Returns:
        (B, ceil(H / ratio), ceil(W / ratio)).
    """
    if ratio == 1:
        return masks.long()
    rows, columns = (
        torch.arange(ratio // 2, side + ratio // 2, ratio, device=masks.device).clamp(max=side - 1)
        for side in masks.shape[-2:]
    )
    return masks[:, rows[:, None], columns].long()
