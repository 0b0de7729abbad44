"""A video network trained end to end on clips (section 4.2).

Legend: B clips, T frames, K classes, H, W.
"""

from dataclasses import dataclass

import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from vseg_nas.data.clip import ClipBatch
from vseg_nas.labels import IGNORE
from vseg_nas.models.segmenter_file import SPEC
from vseg_nas.models.video import VideoSegmenter
from vseg_nas.training.collectives import summed
from vseg_nas.training.losses import segmentation_loss
from vseg_nas.training.optimizers import JointOptimizer
from vseg_nas.training.segmentation_module import SegmentationModule


@dataclass(frozen=True)
class VideoTraining:
    """Adam for the cell and its classifier, SGD for the static network.

    Attributes:
        cell_lr: learning rate of Adam.
        static_lr: learning rate of SGD.
        momentum: of SGD.
        weight_decay: L2 on all weights.
        power: exponent of the poly schedule of both; 0 keeps the rates constant.
        static_weight: of the loss of the static network's own labels, without which key frames would drift.
    """

    cell_lr: float
    static_lr: float
    momentum: float = 0.9
    weight_decay: float = 1e-5
    power: float = 0.0
    static_weight: float = 1.0


class VideoModule(SegmentationModule):
    """Trains a `VideoSegmenter` whose propagation is a cell; batches are `ClipBatch`.

    Batch norms of the static network keep their statistics; those of the cell train.

    Args:
        segmenter: trained in place.
        training: see `VideoTraining`.
        spec: JSON of the `SegmenterSpec`; travels in checkpoints.
    """

    def __init__(self, segmenter: VideoSegmenter, training: VideoTraining, spec: str) -> None:
        super().__init__(len(segmenter.static.classes))
        self.save_hyperparameters({SPEC: spec})
        self.segmenter = segmenter
        self.options = training
        self.train()  # a fit takes modules in the mode that they are in

    def train(self, mode: bool = True) -> "VideoModule":
        """As in any module; the static network stays in evaluation mode, though its weights train."""
        super().train(mode)
        self.segmenter.static.eval()
        return self

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The encoder, the decoder of key frames, and the cell with its classifier."""
        return self.segmenter.static.encoder, self.segmenter.static.decoder, self.segmenter.propagation

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """Cross-entropy at full size, summed over the frames after the first, and that of the static network.

        The latter is of the first frame where that is labelled, and of the last one where it is not (CityScapes).

        Raises:
            NonFiniteError: the loss is NaN or infinite.
        """
        key, *later = self.segmenter(batch.frames)
        loss = torch.stack(
            [segmentation_loss(state.pred, batch.masks[:, t]) for t, state in enumerate(later, start=1)]
        ).sum()
        if self.options.static_weight:
            first_is_labelled = bool(summed((batch.masks[:, 0] != IGNORE).sum()))
            pred = key.pred if first_is_labelled else self.segmenter.key(batch.frames[:, -1]).pred
            target = batch.masks[:, 0 if first_is_labelled else -1]
            loss = loss + self.options.static_weight * segmentation_loss(pred, target)
        return self.log_loss(loss, batch.frames.shape[0], batch_idx)

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        """Counts the frames after the first at the size of their masks."""
        frame = batch.frames.shape[-2], batch.frames.shape[-1]
        for t, state in enumerate(self.segmenter(batch.frames)[1:], start=1):
            self.count(state.pred, frame, batch.masks[:, t])

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Adam and SGD side by side, poly per step."""
        o = self.options
        optimizer = JointOptimizer(
            torch.optim.Adam(self.segmenter.propagation.parameters(), o.cell_lr, weight_decay=o.weight_decay),
            torch.optim.SGD(
                self.segmenter.static.parameters(),
                o.static_lr,
                o.momentum,
                weight_decay=o.weight_decay,
            ),
        )
        return self.with_poly(optimizer, o.power)
