"""The base of modules that train networks on frames: it checks the loss, clips gradients, and scores validation."""

import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from vseg_nas.errors import NonFiniteError
from vseg_nas.metrics import ConfusionMatrix, SegmentationScores
from vseg_nas.models.layers import label_map
from vseg_nas.training.collectives import summed


class SegmentationModule(pl.LightningModule):
    """Base class of modules whose batches are `ClipBatch`.

    Args:
        num_classes: The number of classes, K.

    Attributes:
        scores: The scores of the last validation; None before the first one.
    """

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.confusion = ConfusionMatrix(num_classes)
        self.scores: SegmentationScores | None = None

    @property
    def parts(self) -> tuple[nn.Module, ...]:
        """The modules whose gradients are clipped separately, as the authors' code does for encoder and decoder.

        Clipped together, the part with the largest gradient would decide the step of all the others.
        """
        raise NotImplementedError

    def configure_gradient_clipping(
        self,
        optimizer: torch.optim.Optimizer,
        gradient_clip_val: float | None = None,
        gradient_clip_algorithm: str | None = None,
    ) -> None:
        """Scales the gradient of each part down to the largest norm allowed, which is an argument of the Trainer."""
        if gradient_clip_val:
            for part in self.parts:
                nn.utils.clip_grad_norm_(part.parameters(), gradient_clip_val)

    def log_loss(self, loss: Tensor, batch_size: int, batch_idx: int) -> Tensor:
        """Logs the loss as a mean over the epoch, and returns it.

        Raises:
            NonFiniteError: The loss is NaN or infinite.
        """
        if not loss.isfinite():
            raise NonFiniteError(f"loss {loss.item()} in epoch {self.current_epoch + 1}, batch {batch_idx + 1}")
        self.log("train/loss", loss, on_step=False, on_epoch=True, batch_size=batch_size, sync_dist=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Starts a new confusion matrix."""
        self.confusion = ConfusionMatrix(self.confusion.num_classes)

    def count(self, pred: Tensor, frame: tuple[int, int], masks: Tensor) -> None:
        """Adds predictions to the confusion matrix, at the size of their masks.

        Args:
            pred: (B, K, h, w) logits.
            frame: Height and width of the frames in pixels.
            masks: (B, H, W) class ids or 255.

        Raises:
            NonFiniteError: A logit is NaN or infinite; argmax would return a class nevertheless.
        """
        if not pred.isfinite().all():
            raise NonFiniteError("NaN or infinite logits in the validation")
        self.confusion.update(label_map(pred.float(), frame, (masks.shape[-2], masks.shape[-1])), masks)

    def on_validation_epoch_end(self) -> None:
        """Computes `scores` over the clips of all ranks, and logs mIoU and the score."""
        self.confusion.counts = summed(self.confusion.counts.to(self.device))
        self.scores = self.confusion.scores()
        self.log_dict({"val/miou": self.scores.miou, "val/score": self.scores.score}, sync_dist=True)
