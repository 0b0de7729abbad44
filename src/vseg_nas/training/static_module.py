"""Pre-training of the static network on single frames (paper, section 6).

Legend: B frames, K classes, H, W.
"""

import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from vseg_nas.data.clip import ClipBatch
from vseg_nas.models.arch2 import AUXILIARY_STRIDES
from vseg_nas.models.static import StaticOutput, StaticSegmenter
from vseg_nas.training.losses import segmentation_loss, shrink_masks
from vseg_nas.training.schedules import with_poly
from vseg_nas.training.segmentation_module import SegmentationModule
from vseg_nas.training.settings import StaticTraining


def static_loss(output: StaticOutput, masks: Tensor, auxiliary_weight: float) -> Tensor:
    """Returns the cross-entropy at full size plus the weighted sum over auxiliary heads, each at its own resolution.

    Args:
        output: The output of the static network in training mode.
        masks: (B, H, W) int64 class ids or 255.
        auxiliary_weight: The weight of each auxiliary head; 0.3 in the paper.
    """
    loss = segmentation_loss(output.pred, masks)
    for logits, stride in zip(output.auxiliary, AUXILIARY_STRIDES, strict=False):  # a network may have no heads
        loss = loss + auxiliary_weight * segmentation_loss(logits, shrink_masks(masks, stride))
    return loss


class StaticModule(SegmentationModule):
    """Trains and validates a `StaticSegmenter`; batches are `ClipBatch` of one frame each."""

    def __init__(self, network: StaticSegmenter, training: StaticTraining) -> None:
        super().__init__(len(network.classes))
        self.network = network.to(memory_format=torch.channels_last)
        self.options = training

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The encoder and the decoder."""
        return self.network.encoder, self.network.decoder

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """Returns the loss of one batch.

        Raises:
            NonFiniteError: The loss is NaN or infinite.
        """
        frames = batch.frames[:, 0].contiguous(memory_format=torch.channels_last)
        loss = static_loss(self.network(frames), batch.masks[:, 0], self.options.auxiliary_weight)
        return self.log_loss(loss, frames.shape[0], batch_idx)

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        """Adds the predictions of one batch to the confusion matrix."""
        frames = batch.frames[:, 0].contiguous(memory_format=torch.channels_last)
        self.count(self.network(frames).pred, (frames.shape[-2], frames.shape[-1]), batch.masks[:, 0])

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Returns SGD with a poly schedule per step and learning rates of their own for encoder and decoder."""
        o = self.options
        groups = [
            {"params": self.network.encoder.parameters(), "lr": o.encoder_lr},
            {"params": self.network.decoder.parameters(), "lr": o.decoder_lr},
        ]
        optimizer = torch.optim.SGD(groups, momentum=o.momentum, weight_decay=o.weight_decay)
        return with_poly(self, optimizer, o.power)
