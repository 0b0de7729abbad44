"""Training of a cell on cached features of the static network, with the classifier frozen (sections 4, 4.1).

Neither the encoder nor the decoder of the static network runs, which is what makes a candidate cheap.

Legend: B clips, T frames, K classes, h, w at 1/8.
"""

import copy
import itertools
from collections.abc import Iterable, Iterator

import numpy as np
import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from vseg_nas.data.feature_cache import StaticFeatures
from vseg_nas.errors import NonFiniteError
from vseg_nas.flow import shrink_flow, warp
from vseg_nas.metrics.clip_scores import ClipCounts, ClipScores
from vseg_nas.models.arch2 import Arch2Decoder
from vseg_nas.models.cell import DynamicCell
from vseg_nas.models.layers import label_map, stride_of
from vseg_nas.models.settings import Past
from vseg_nas.space.vocabulary import DEC_STRIDE, INPUT_STRIDES, INPUTS
from vseg_nas.training.losses import segmentation_loss, shrink_masks
from vseg_nas.training.schedules import POWER, with_poly
from vseg_nas.training.settings import CellTraining
from vseg_nas.training.unroll import Damage

_LAYER4_STRIDE = INPUT_STRIDES[INPUTS.index("layer4")]


class DecoderAsCell(nn.Module):
    """The static decoder behind the interface of a cell.

    Trained as a cell is, it becomes a baseline of single frames that had the same data and the same number of steps.

    Args:
        decoder: The decoder; it is trained in place.
    """

    reads = frozenset({"layer2", "layer3", "layer4"})

    def __init__(self, decoder: Arch2Decoder) -> None:
        super().__init__()
        self.decoder = decoder

    def forward(
        self,
        prev_layer4: Tensor,
        prev_dec: Tensor,
        layer2: Tensor,
        layer3: Tensor,
        layer4: Tensor,
        prev_layer2: Tensor | None = None,
        distance: Tensor | None = None,
    ) -> Tensor:
        """Returns dec (B, 64, h, w); the arguments are those of a cell, and what is of the past is ignored."""
        # The decoder expects a tap at 1/4 but no block of it reads that one, so any tensor will do.
        dec: Tensor = self.decoder((layer2, layer2, layer3, layer4))[0]
        return dec


class CellModule(pl.LightningModule):
    """Trains a cell; batches are `StaticFeatures` of B clips.

    If the features include optical flow, what the cell reads of the previous frame is warped along it first.

    Args:
        cell: The candidate, or the static decoder in its place.
        classifier: The classifier of the static network, which is copied and frozen.
        training: The settings of the training.
        past: The frame that the cell reads as the previous one, a `Past`. ``zero`` replaces its layers and dec by
            zeros, in training and in scoring, so that the cell becomes a decoder of single frames. ``current``
            is made by the data: the features are those of `extract_current`.
            With either, the distance from the key frame is 0.
        reference_scores: Whether scores are computed as in the authors' code, see `vseg_nas.metrics.confusion`.
        seed: The seed of the damage to the past of some clips; every batch of every epoch has its own draws.
    """

    def __init__(
        self,
        cell: DynamicCell | DecoderAsCell,
        classifier: nn.Conv2d,
        training: CellTraining,
        past: Past = "previous",
        reference_scores: bool = False,
        seed: int = 0,
    ) -> None:
        super().__init__()
        self.cell = cell.to(memory_format=torch.channels_last)
        # `train` has no effect on a convolution. It is called because Lightning warns about modules in evaluation mode.
        self.classifier = copy.deepcopy(classifier).requires_grad_(False).train()
        self.options = training
        self.past = past
        self._reference_scores = reference_scores
        self._seed = seed

    def forward(self, features: StaticFeatures) -> Iterator[Tensor]:
        """Yields the logits (B, K, h, w) of each frame after the first; dec is carried from frame to frame."""
        previous_layer4, dec, previous_layer2 = features.key_layer4, features.key_dec, features.key_layer2
        piece = self.options.unroll.gradient_frames
        if self.past == "zero":
            previous_layer4, dec, previous_layer2 = map(torch.zeros_like, (previous_layer4, dec, previous_layer2))
        flows = itertools.repeat(None) if features.flow is None else features.flow.unbind(1)
        # Not strict, because without flow the last iterator is endless.
        later = features.layer2.unbind(1), features.layer3.unbind(1), features.layer4.unbind(1), flows
        for t, (layer2, layer3, layer4, flow) in enumerate(zip(*later, strict=False), start=1):
            if piece and t > 1 and (t - 1) % piece == 0:
                dec = dec.detach()
            if flow is not None:
                previous_layer4 = warp(previous_layer4, shrink_flow(flow, _LAYER4_STRIDE // DEC_STRIDE))
                dec = warp(dec, flow)
                if "prev_layer2" in self.cell.reads:
                    previous_layer2 = warp(previous_layer2, flow)
            distance = layer2.new_full((layer2.shape[0], 1, 1, 1), t if self.past == "previous" else 0)
            current = self.cell(previous_layer4, dec, layer2, layer3, layer4, previous_layer2, distance)
            yield self.classifier(current)
            # dec is carried with its gradient, so later frames also train what the cell leaves for them.
            if self.past != "zero":
                previous_layer4, dec, previous_layer2 = layer4, current, layer2

    def training_step(self, batch: StaticFeatures, batch_idx: int) -> Tensor:
        """Returns the cross-entropy summed over the frames after the first, at the size of the logits (1/8).

        Raises:
            NonFiniteError: The loss is NaN or infinite.
        """
        if self.options.unroll.damaged:
            batch = self._damaged(batch, batch_idx)
        losses = []
        for t, logits in enumerate(self(batch)):
            masks = batch.masks[:, t]
            small = shrink_masks(masks, stride_of(logits, (masks.shape[-2], masks.shape[-1])))
            losses.append(segmentation_loss(logits, small))
        loss = torch.stack(losses).sum()
        if not loss.isfinite():
            raise NonFiniteError(f"loss {loss.item()} in epoch {self.current_epoch + 1}, batch {batch_idx + 1}")
        return loss

    def _damaged(self, batch: StaticFeatures, batch_idx: int) -> StaticFeatures:
        """Returns the batch with some pasts damaged; the draws depend on seed, epoch and batch alone."""
        rng = np.random.default_rng((self._seed, self.current_epoch, batch_idx))
        damage = Damage.draw(batch.clips, self.options.unroll.damaged, rng)
        return batch._replace(
            key_layer4=damage.past(batch.key_layer4, _LAYER4_STRIDE),
            key_dec=damage.past(batch.key_dec, DEC_STRIDE),
            key_layer2=damage.past(batch.key_layer2, DEC_STRIDE),
            layer2=damage.later(batch.layer2),
            layer3=damage.later(batch.layer3),
            layer4=damage.later(batch.layer4),
            masks=damage.later(batch.masks),
            flow=None if batch.flow is None else damage.later(batch.flow),
        )

    def configure_optimizers(self) -> OptimizerLRSchedulerConfig:
        """Returns Adam with the learning rate of the schedule."""
        o = self.options
        optimizer = torch.optim.Adam(self.cell.parameters(), o.lr, weight_decay=o.weight_decay)
        return with_poly(self, optimizer, POWER[o.schedule])

    @torch.no_grad()
    def score(self, batches: Iterable[StaticFeatures]) -> ClipScores:
        """Scores the frames after the first of every clip, at the size of their masks.

        Raises:
            NonFiniteError: A logit is NaN or infinite; argmax would return a class nevertheless.
        """
        training = self.training
        self.eval()
        counts = ClipCounts(self.classifier.out_channels)
        for batch in batches:
            batch = batch.to(self.device)
            predictions = []
            for logits in self(batch):
                if not logits.isfinite().all():
                    raise NonFiniteError(f"logits are not finite in epoch {self.current_epoch + 1}")
                predictions.append(label_map(logits, batch.frame, (batch.masks.shape[-2], batch.masks.shape[-1])))
            counts.update(predictions, batch.masks.long())
        self.train(training)
        return counts.scores(self._reference_scores)
