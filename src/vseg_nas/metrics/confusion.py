"""The confusion matrix of a data set, and the paper's scores computed from it.

mIoU is the mean over classes with a non-empty union, mAcc the mean over classes with at least one true pixel. Pixels
whose truth is 255 do not count. Averages per image, or other values for absent classes, are other numbers.

The `reference` form follows the authors' code: mAcc is the mean over classes with a non-empty union, and the recall of
a class without a true pixel counts as 2.

Legend: K classes.
"""

import math

import torch
from torch import Tensor
from torchmetrics import Metric

from vseg_nas.labels import IGNORE
from vseg_nas.results.scores import SegmentationScores


def scores_from_confusion(confusion: Tensor, reference: bool = False) -> SegmentationScores:
    """Computes all scores.

    Args:
        confusion: (K, K) counts of pixels; rows are truth, columns are predictions.
        reference: Whether mAcc is computed as in the authors' code.

    Raises:
        ValueError: The matrix holds no pixel.
    """
    matrix = confusion.cpu().double()
    total = matrix.sum()
    if total == 0:
        raise ValueError("no labelled pixel was compared")
    hits, truth, predicted = matrix.diag(), matrix.sum(1), matrix.sum(0)
    union = truth + predicted - hits
    iou = hits / union  # 0 / 0 = NaN marks a class that occurs neither in the truth nor in the predictions
    miou = iou[union > 0].mean()
    fwiou = ((truth / total) * iou.nan_to_num()).sum()
    recall = hits / truth
    macc = torch.where(truth > 0, recall, 2.0)[union > 0].mean() if reference else recall[truth > 0].mean()
    score = (miou * fwiou * macc) ** (1 / 3)
    return SegmentationScores(
        miou=miou.item(),
        fwiou=fwiou.item(),
        macc=macc.item(),
        score=score.item(),
        iou_per_class=tuple(None if math.isnan(value) else value for value in iou.tolist()),
    )


class ConfusionMatrix(Metric):
    """Counts pixels by (truth, prediction); pixels whose truth is 255 are ignored.

    Args:
        num_classes: The number of classes, K.
    """

    full_state_update = False
    counts: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.add_state("counts", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Adds pixels.

        Args:
            prediction: Class ids in 0..K-1, of any shape.
            truth: Class ids in 0..K-1 or 255, of the same shape.
        """
        # The table has a row for each of the 256 values of truth, so that ignored pixels need not be selected. That is
        # three times as fast as the confusion matrix of torchmetrics.
        pairs = truth.to(torch.int64, copy=True).mul_(self.num_classes).add_(prediction).flatten()
        rows = torch.bincount(pairs, minlength=(IGNORE + 1) * self.num_classes).view(IGNORE + 1, self.num_classes)
        self.counts = self.counts.to(rows.device) + rows[: self.num_classes]

    def compute(self) -> SegmentationScores:
        """Returns the scores in the paper's form, as torchmetrics demands a method of this name."""
        return self.scores()

    def scores(self, reference: bool = False) -> SegmentationScores:
        """Returns the scores of all pixels so far.

        Args:
            reference: Whether mAcc is computed as in the authors' code.

        Raises:
            ValueError: No labelled pixel was added.
        """
        return scores_from_confusion(self.counts, reference)
