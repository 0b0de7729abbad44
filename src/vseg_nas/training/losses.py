"""Cross-entropy over labelled pixels.

Legend: B clips, K classes, H, W.
"""

import torch.nn.functional as F
from torch import Tensor

from vseg_nas.labels import IGNORE
from vseg_nas.models.layers import resize
from vseg_nas.training.collectives import ranks, summed


def segmentation_loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Mean cross-entropy over pixels that are not 255; 0, with gradient, where there is none.

    Where several ranks train together: the own part of the mean over all their pixels, times the number of ranks, so
    that the mean over ranks, which is what becomes of gradients, is that mean.

    Args:
        logits: (B, K, h, w).
        masks: (B, H, W) int64. Logits are resized to it.
    """
    # In float32: autocast would interpolate logits in half precision.
    logits = resize(logits.float(), (masks.shape[-2], masks.shape[-1]))
    total = F.cross_entropy(logits, masks, ignore_index=IGNORE, reduction="sum")
    return total * ranks() / summed((masks != IGNORE).sum()).clamp(min=1)


def shrink_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest-neighbour resize of (B, H, W) class ids to ``size``, by the centres of pixels, int64.

    Mode "nearest" would take the corner of every cell, half a cell away from where `resize` puts its logits back:
    labels of CamVid that go down to 1/8 and up again keep an mIoU of 0.82 by centres, of 0.72 by corners.
    """
    if masks.shape[-2:] == size:
        return masks.long()
    return F.interpolate(masks[:, None].float(), size, mode="nearest-exact")[:, 0].long()
