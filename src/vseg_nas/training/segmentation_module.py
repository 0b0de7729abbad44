"""What training of networks on frames shares: a finite loss, scores of the validation split, the poly schedule."""

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig
from torch import Tensor, nn

from vseg_nas.errors import NonFiniteError
from vseg_nas.metrics import ConfusionMatrix, SegmentationScores
from vseg_nas.models.layers import label_map
from vseg_nas.training.collectives import summed
from vseg_nas.training.schedules import poly


class SegmentationModule(pl.LightningModule):
    """Base of modules whose batches are `ClipBatch`.

    Args:
        num_classes: K.

    Attributes:
        scores: of the last validation; None before the first.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.confusion = ConfusionMatrix(num_classes)
        self.scores: SegmentationScores | None = None

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """Whose gradients are clipped apart, as the authors' code does with encoder and decoder."""
        raise NotImplementedError

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Scales the gradient of each part down to the largest norm that the Trainer was given."""
        if gradient_clip_val:
            for part in self.parts:
                nn.utils.clip_grad_norm_(part.parameters(), gradient_clip_val)

    def log_loss(self, loss: Tensor, batch_size: int, batch_idx: int) -> Tensor:
        """Logs the mean over an epoch and hands the loss on.

        Raises:
            NonFiniteError: the loss is NaN or infinite.
        """
        if not loss.isfinite():
            raise NonFiniteError(f"loss {loss.item()} in epoch {self.current_epoch + 1}, batch {batch_idx + 1}")
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=batch_size, sync_dist=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Starts a new confusion matrix."""
        self.confusion = ConfusionMatrix(self.confusion.num_classes)

    def count(self, pred: Tensor, frame: tuple[int, int], masks: Tensor) -> None:
        """Adds logits (B, K, h, w) of frames of that size, at the size of their masks (B, H, W).

        Raises:
            NonFiniteError: one is NaN or infinite; the largest of them would pass for a label.
        """
        if not pred.isfinite().all():
            raise NonFiniteError("NaN or infinite logits in the validation")
        self.confusion.update(label_map(pred.float(), frame, (masks.shape[-2], masks.shape[-1])), masks)

    def on_validation_epoch_end(self) -> None:
        """Logs mIoU and the score; `scores` keeps all of them, of the clips of all ranks."""
        self.confusion.counts = summed(self.confusion.counts.to(self.device))
        self.scores = self.confusion.scores()
        self.log_dict({"val/miou": self.scores.miou, "val/score": self.scores.score}, sync_dist=True)

    def with_poly(self, optimizer: torch.optim.Optimizer, power: float) -> OptimizerLRSchedulerConfig:
        """The optimiser with the poly schedule, per step, over the whole fit."""
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, poly(steps, power))
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
