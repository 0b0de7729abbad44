"""What a cell has to beat: the static network on every frame, and its previous prediction copied forward.

Legend: T frames, H, W.
"""

from collections.abc import Iterable
from typing import NamedTuple

import torch

from vseg_nas.data import Clip
from vseg_nas.metrics import ConfusionMatrix, SegmentationScores
from vseg_nas.models.layers import label_map
from vseg_nas.models.static import StaticSegmenter


class StaticBaselines(NamedTuple):
    """Scores on the frames after the first of every clip.

    Attributes:
        per_frame: the static network on each frame.
        copied: the static network's labels of the frame before.
    """

    per_frame: SegmentationScores
    copied: SegmentationScores


@torch.inference_mode()
def score_static(network: StaticSegmenter, clips: Iterable[Clip], device: torch.device) -> StaticBaselines:
    """Scores both baselines at the size of the masks.

    Args:
        network: frozen.
        clips: T >= 2 frames each.
        device: where to compute.
    """
    network = network.to(device)
    per_frame, copied = (ConfusionMatrix(len(network.classes)) for _ in range(2))
    for clip in clips:
        masks = clip.masks.to(device)
        logits = network(clip.frames.to(device)).pred
        frame = clip.frames.shape[-2], clip.frames.shape[-1]
        labels = label_map(logits, frame, (masks.shape[-2], masks.shape[-1]))
        per_frame.update(labels[1:], masks[1:])
        copied.update(labels[:-1], masks[1:])
    return StaticBaselines(per_frame.scores(), copied.scores())
