"""End-to-end training of a video network on clips (section 4.2).

Legend: B clips, T frames, K classes, H, W.
"""

import numpy as np
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from vseg_nas.data.clip import ClipBatch
from vseg_nas.labels import IGNORE
from vseg_nas.models.propagation import EachFrame
from vseg_nas.models.segmenter_file import SPEC
from vseg_nas.models.video_segmenter import VideoSegmenter
from vseg_nas.training.collectives import summed
from vseg_nas.training.losses import segmentation_loss
from vseg_nas.training.optimizers import JointOptimizer
from vseg_nas.training.schedules import with_poly
from vseg_nas.training.segmentation_module import SegmentationModule
from vseg_nas.training.settings import VideoTraining
from vseg_nas.training.unroll import Damage


class VideoModule(SegmentationModule):
    """Trains a `VideoSegmenter` whose propagation is a cell or `EachFrame`; batches are `ClipBatch`.

    Batch norms of the static network keep their statistics: batches of a few clips give noisier ones than those of
    pre-training, and key frames and later frames share the encoder. Batch norms of the cell train, or those of the
    decoder if there is no cell.

    Args:
        segmenter: The network; it is trained in place.
        training: The settings of the training.
        spec: The `SegmenterSpec` as JSON, which is stored in checkpoints.
        seed: The seed of the damage to the past of some clips; every batch of every epoch has its own draws.
    """

    def __init__(self, segmenter: VideoSegmenter, training: VideoTraining, spec: str, seed: int = 0) -> None:
        super().__init__(len(segmenter.static.classes))
        self.save_hyperparameters({SPEC: spec})
        self.segmenter = segmenter
        self.options = training
        self._seed = seed
        self.train()  # Lightning fits modules in the mode that they are in

    def train(self, mode: bool = True) -> "VideoModule":
        """Sets the mode, except that the static network stays in evaluation mode although its weights are trained."""
        super().train(mode)
        self.segmenter.static.eval()
        self._by_adam.train(mode)
        return self

    @property
    def _by_adam(self) -> nn.Module:
        """The module that predicts the frames after a key frame, and is trained by Adam."""
        segmenter = self.segmenter
        return segmenter.static.decoder if isinstance(segmenter.propagation, EachFrame) else segmenter.propagation

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The encoder, the decoder, and the cell with its classifier if there is one."""
        static, propagation = self.segmenter.static, self.segmenter.propagation
        cell = () if isinstance(propagation, EachFrame) else (propagation,)
        return static.encoder, static.decoder, *cell

    def training_step(self, batch: ClipBatch, batch_idx: int) -> Tensor:
        """Returns the cross-entropy at full size of the frames after the first, plus that of the static network.

        The static network is scored on the first frame. In CityScapes that is not labelled, so it is scored on the
        last one instead.

        Raises:
            NonFiniteError: The loss is NaN or infinite.
        """
        unroll, frames, masks, change_past = self.options.unroll, batch.frames, batch.masks, None
        if unroll.damaged:
            rng = np.random.default_rng((self._seed, self.current_epoch, self.global_rank, batch_idx))
            damage = Damage.draw(len(frames), unroll.damaged, rng)
            frames, masks = (torch.cat((x[:, :1], damage.later(x[:, 1:])), 1) for x in (frames, masks))
            change_past = damage.state
        key, *later = self.segmenter(frames, unroll.gradient_frames, change_past)
        loss = torch.stack([segmentation_loss(state.pred, masks[:, t]) for t, state in enumerate(later, start=1)]).sum()
        if self.options.static_weight:
            # Summed over the ranks, since all of them have to take the same branch.
            first_is_labelled = bool(summed((batch.masks[:, 0] != IGNORE).sum()))
            pred = key.pred if first_is_labelled else self.segmenter.key(batch.frames[:, -1]).pred
            target = batch.masks[:, 0 if first_is_labelled else -1]
            loss = loss + self.options.static_weight * segmentation_loss(pred, target)
        return self.log_loss(loss, batch.frames.shape[0], batch_idx)

    def validation_step(self, batch: ClipBatch, batch_idx: int) -> None:
        """Adds the predictions of the frames after the first to the confusion matrix."""
        frame = batch.frames.shape[-2], batch.frames.shape[-1]
        for t, state in enumerate(self.segmenter(batch.frames)[1:], start=1):
            self.count(state.pred, frame, batch.masks[:, t])

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Returns Adam and SGD side by side, with a poly schedule per step."""
        o = self.options
        by_adam = list(self._by_adam.parameters())
        adam_ids = set(map(id, by_adam))
        optimizer = JointOptimizer(
            torch.optim.Adam(by_adam, o.cell_lr, weight_decay=o.weight_decay),
            torch.optim.SGD(
                [weight for weight in self.segmenter.static.parameters() if id(weight) not in adam_ids],
                o.static_lr,
                o.momentum,
                weight_decay=o.weight_decay,
            ),
        )
        return with_poly(self, optimizer, o.power)
