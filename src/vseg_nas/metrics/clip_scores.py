"""Scores of predictions on clips by the distance from the key frame, and how steady the predictions are.

Legend: N clips, T' frames after the key frame, K classes, H, W.
"""

from collections.abc import Sequence
from typing import NamedTuple

from torch import Tensor

from vseg_nas.labels import IGNORE
from vseg_nas.metrics.confusion import ConfusionMatrix, scores_from_confusion
from vseg_nas.results.scores import SegmentationScores


class ClipScores(NamedTuple):
    """The scores of a cell on clips.

    Attributes:
        whole: The scores of all frames after the key frames together.
        by_distance: Those of the frames at each distance from the key frame, from 1 on.
        steadiness: Of the pixels whose true class is the same in two successive frames after the key frame, the share
            whose predicted class is the same, too, be it right or wrong; None if there are no such pixels.
    """

    whole: SegmentationScores
    by_distance: tuple[SegmentationScores, ...]
    steadiness: float | None


class ClipCounts:
    """Counts the pixels of clips, batch after batch.

    Args:
        num_classes: The number of classes, K.
    """

    def __init__(self, num_classes: int) -> None:
        self._num_classes = num_classes
        self._matrices: list[ConfusionMatrix] = []
        self._same_truth = self._steady = 0

    def update(self, predictions: Sequence[Tensor], truth: Tensor) -> None:
        """Adds a batch of clips.

        Args:
            predictions: The class ids (N, H, W) of the T' frames.
            truth: (N, T', H, W) class ids or 255.
        """
        while len(self._matrices) < len(predictions):
            self._matrices.append(ConfusionMatrix(self._num_classes))
        for t, (matrix, prediction) in enumerate(zip(self._matrices, predictions, strict=True)):
            matrix.update(prediction, truth[:, t])
            if t:
                same = (truth[:, t] == truth[:, t - 1]) & (truth[:, t] != IGNORE)
                self._same_truth += int(same.sum())
                self._steady += int((same & (prediction == predictions[t - 1])).sum())

    def scores(self, reference: bool = False) -> ClipScores:
        """Returns the scores of all clips so far.

        Args:
            reference: Whether mAcc is computed as in the authors' code.

        Raises:
            ValueError: No labelled pixel was added at some distance.
        """
        counts = [matrix.counts for matrix in self._matrices]
        return ClipScores(
            scores_from_confusion(sum(counts[1:], counts[0]), reference),
            tuple(scores_from_confusion(count, reference) for count in counts),
            self._steady / self._same_truth if self._same_truth else None,
        )
