"""A cell and the frozen classifier, trained on cached static features (sections 4, 4.1).

Legend: B clips, T frames, K classes, h, w at 1/8.
"""

import copy
import itertools
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from vseg_nas.data.feature_cache import StaticFeatures
from vseg_nas.errors import NonFiniteError
from vseg_nas.flow import shrink_flow, warp
from vseg_nas.metrics import ConfusionMatrix, SegmentationScores
from vseg_nas.models.cell import DynamicCell
from vseg_nas.models.layers import label_map, stride_of
from vseg_nas.space.vocabulary import DEC_STRIDE, INPUT_STRIDES, INPUTS
from vseg_nas.training.losses import segmentation_loss, shrink_masks

_LAYER4_STRIDE = INPUT_STRIDES[INPUTS.index("layer4")]


@dataclass(frozen=True)
class CellTraining:
    """How long and how a cell trains; the defaults are CamVid's in section 4.1.

    Attributes:
        epochs: over the cached clips.
        batch_size: clips a batch.
        lr: of Adam.
        weight_decay: L2 inside Adam.
        gradient_clip: largest norm of the gradient.
        reference_scores: score as the authors' code does; see `vseg_nas.metrics.confusion`.
    """

    epochs: int = 20
    batch_size: int = 48
    lr: float = 8e-3
    weight_decay: float = 1e-5
    gradient_clip: float = 3.0
    reference_scores: bool = False


class CellModule(pl.LightningModule):
    """Trains a cell; batches are `StaticFeatures` of B clips.

    Args:
        cell: the candidate.
        classifier: of the static network; copied and frozen.
        training: see `CellTraining`.
        sees_previous: False replaces layer 4 and dec of the previous frame by zeros, in training and evaluation: the
            same cell as a trained decoder of single frames, to tell what time contributes.

    Where the features hold optical flow, layer 4 and dec of the previous frame are warped along it first.
    """

    def __init__(
        self, cell: DynamicCell, classifier: nn.Conv2d, training: CellTraining, sees_previous: bool = True
    ) -> None:
        super().__init__()
        self.cell = cell.to(memory_format=torch.channels_last)
        # A convolution has no mode; Lightning warns of modules that start a fit in evaluation mode.
        self.classifier = copy.deepcopy(classifier).requires_grad_(False).train()
        self.options = training
        self.sees_previous = sees_previous

    def forward(self, features: StaticFeatures) -> Iterator[Tensor]:
        """Yields logits (B, K, h, w) of each frame after the first; dec is carried from frame to frame."""
        previous_layer4, dec = features.key_layer4, features.key_dec
        if not self.sees_previous:
            previous_layer4, dec = torch.zeros_like(previous_layer4), torch.zeros_like(dec)
        flows = itertools.repeat(None) if features.flow is None else features.flow.unbind(1)
        for layer2, layer3, layer4, flow in zip(
            features.layer2.unbind(1), features.layer3.unbind(1), features.layer4.unbind(1), flows, strict=False
        ):
            if flow is not None:
                previous_layer4 = warp(previous_layer4, shrink_flow(flow, _LAYER4_STRIDE // DEC_STRIDE))
                dec = warp(dec, flow)
            current = self.cell(previous_layer4, dec, layer2, layer3, layer4)
            yield self.classifier(current)
            if self.sees_previous:
                previous_layer4, dec = layer4, current

    def training_step(self, batch: StaticFeatures, batch_idx: int) -> Tensor:
        """Cross-entropy summed over the frames after the first, at 1/8 of the input.

        Raises:
            NonFiniteError: the loss is NaN or infinite.
        """
        losses = []
        for t, logits in enumerate(self(batch)):
            masks = batch.masks[:, t]
            small = shrink_masks(masks, stride_of(logits, (masks.shape[-2], masks.shape[-1])))
            losses.append(segmentation_loss(logits, small))
        loss = torch.stack(losses).sum()
        if not loss.isfinite():
            raise NonFiniteError(f"loss {loss.item()} in epoch {self.current_epoch + 1}, batch {batch_idx + 1}")
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam at a constant rate."""
        return torch.optim.Adam(self.cell.parameters(), self.options.lr, weight_decay=self.options.weight_decay)

    @torch.no_grad()
    def score(self, batches: Iterable[StaticFeatures]) -> SegmentationScores:
        """Scores the frames after the first of every clip, at the size of their masks.

        Raises:
            NonFiniteError: a logit is NaN or infinite.
        """
        training = self.training
        self.eval()
        confusion = ConfusionMatrix(self.classifier.out_channels)
        for batch in batches:
            batch = batch.to(self.device)
            for t, logits in enumerate(self(batch)):
                if not logits.isfinite().all():
                    raise NonFiniteError(f"logits are not finite in epoch {self.current_epoch + 1}")
                masks = batch.masks[:, t].long()
                confusion.update(label_map(logits, batch.frame, (masks.shape[-2], masks.shape[-1])), masks)
        self.train(training)
        return confusion.scores(self.options.reference_scores)
