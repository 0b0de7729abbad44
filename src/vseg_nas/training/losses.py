"""Cross-entropy over labelled pixels.

Legend: B clips, K classes, h, w size of the logits, H, W size of the masks.
"""

import torch
import torch.nn.functional as F
from torch import Tensor

from vseg_nas.labels import IGNORE
from vseg_nas.models.layers import enlarge, stride_of
from vseg_nas.training.collectives import summed, world_size


def segmentation_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Returns the mean cross-entropy over pixels that are not 255; without any it is 0, with a gradient of 0.

    If R ranks train together, this is R times the rank's own part of the mean over all their pixels. DDP averages the
    gradients of the ranks, so the result is the gradient of that mean, whatever number of labelled pixels each has.

    Args:
        logits: (B, K, h, w) logits.
        masks: (B, H, W) int64 class ids or 255. If they have the size of the frames, the logits are enlarged to it.

    Raises:
        ValueError: The masks have neither the size of the logits nor that of their frames.
    """
    size = masks.shape[-2], masks.shape[-1]
    # Autocast would interpolate the logits in half precision.
    logits = enlarge(logits.float(), stride_of(logits, size), size)
    total = F.cross_entropy(logits, masks, ignore_index=IGNORE, reduction="sum")
    # Without labelled pixels the total is 0, so any divisor but 0 gives a loss of 0.
    return total * world_size() / summed((masks != IGNORE).sum()).clamp(min=1)


def shrink_masks(masks: Tensor, ratio: int) -> Tensor:
    """Samples masks at the centres of the values of a coarser plane.

    `enlarge` puts the logits back at these centres. Corners would be off by half a stride: labels of CamVid that are
    shrunk to 1/8 and enlarged again keep an mIoU of 0.82 by centres, and of 0.72 by corners. A centre that lies beyond
    the masks takes their last row or column.

    Args:
        masks: (B, H, W) class ids.
        ratio: The stride of the plane over that of the masks.

    Returns:
        (B, ceil(H / ratio), ceil(W / ratio)) class ids, int64.
    """
    if ratio == 1:
        return masks.long()
    rows, columns = (
        torch.arange(ratio // 2, side + ratio // 2, ratio, device=masks.device).clamp(max=side - 1)
        for side in masks.shape[-2:]
    )
    return masks[:, rows[:, None], columns].long()
