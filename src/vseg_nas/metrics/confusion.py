"""One confusion matrix over a data set, and the scores of the paper from it.

mIoU is the mean over classes with a non-empty union, mAcc over classes with at least one true pixel; pixels whose
truth is 255 do not count. Averaging per image, or giving absent classes 0 or 1, are other numbers. The authors' code
takes mAcc over classes with a non-empty union and counts 2 for one without a true pixel: the `reference` form.

Legend: K classes, H, W.
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
        confusion: (K, K) counts of pixels, rows are truth, columns are predictions.
        reference: as the authors' code computes them.

    Raises:
        ValueError: the matrix holds no pixel.
    """
    matrix = confusion.cpu().double()
    total = matrix.sum()
    if total == 0:
        raise ValueError("no labelled pixel was compared")
    hits, truth, predicted = matrix.diag(), matrix.sum(1), matrix.sum(0)
    union = truth + predicted - hits
    iou = hits / union  # 0 / 0 = NaN marks a class that is neither there nor predicted
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
    """Counts (truth, prediction) pairs of pixels, ignoring truth 255."""

    full_state_update = False
    counts: Tensor

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.num_classes = num_classes
        self.add_state("counts", torch.zeros(num_classes, num_classes, dtype=torch.int64), dist_reduce_fx="sum")

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Adds pixels.

        Args:
            prediction: class ids in 0..K-1, any shape.
            truth: class ids in 0..K-1 or 255, the same shape.
        """
        # Rows for all 256 values of truth, so that no pixel has to be looked for; three times as fast as torchmetrics'.
        pairs = truth.to(torch.int64, copy=True).mul_(self.num_classes).add_(prediction).flatten()
        rows = torch.bincount(pairs, minlength=(IGNORE + 1) * self.num_classes).view(IGNORE + 1, self.num_classes)
        self.counts = self.counts.to(rows.device) + rows[: self.num_classes]

    def compute(self) -> SegmentationScores:
        """As `scores`."""
        return self.scores()

    def scores(self, reference: bool = False) -> SegmentationScores:
        """The scores of everything seen so far; see `scores_from_confusion`.

        Raises:
            ValueError: no labelled pixel was seen.
        """
        return scores_from_confusion(self.counts, reference)
