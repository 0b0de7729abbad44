from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vseg_nas.labels import IGNORE
from vseg_nas.metrics import ConfusionMatrix, SegmentationScores, scores_from_confusion

Ids = NDArray[np.int64]


def reference(prediction: Ids, truth: Ids, classes: int) -> tuple[float, float, float, list[float]]:
    """mIoU, fwIoU, mAcc and the IoU of each class, by sets of pixels."""
    prediction, truth = prediction[truth != 255], truth[truth != 255]
    ious, recalls, weighted = [], [], 0.0
    for k in range(classes):
        both = np.sum((prediction == k) & (truth == k))
        either = np.sum((prediction == k) | (truth == k))
        ious.append(both / either if either else float("nan"))
        if np.any(truth == k):
            recalls.append(both / np.sum(truth == k))
            weighted += np.mean(truth == k) * ious[-1]
    return float(np.nanmean(ious)), float(weighted), float(np.mean(recalls)), ious


def scored(classes: int, *pairs: tuple[Any, Any]) -> SegmentationScores:
    confusion = ConfusionMatrix(classes)
    for prediction, truth in pairs:
        confusion.update(torch.as_tensor(prediction), torch.as_tensor(truth))
    return confusion.scores()


def test_by_hand() -> None:
    """Truth aa/ab against prediction ab/ab: class a 2 of 3, class b 1 of 2."""
    scores = scored(2, ([[0, 1], [0, 1]], [[0, 0], [0, 1]]))
    assert scores.iou_per_class == pytest.approx((2 / 3, 1 / 2))
    assert scores.miou == pytest.approx(7 / 12)
    assert scores.fwiou == pytest.approx(3 / 4 * 2 / 3 + 1 / 4 * 1 / 2)
    assert scores.macc == pytest.approx((2 / 3 + 1) / 2)
    assert scores.score == pytest.approx((7 / 12 * 5 / 8 * 5 / 6) ** (1 / 3))


def test_what_is_counted_stays_as_it_was() -> None:
    prediction, truth = torch.tensor([0, 1, 1]), torch.tensor([0, 1, 255])
    ConfusionMatrix(2).update(prediction, truth)
    assert (prediction.tolist(), truth.tolist()) == ([0, 1, 1], [0, 1, 255])


@pytest.mark.parametrize("in_truth", [(0, 1, 2, 3, 4), (0, 2), (3,)])
@pytest.mark.parametrize("predicted", [(0, 1, 2, 3, 4), (0, 1), (4,)])
def test_like_numpy_whatever_is_absent(in_truth: tuple[int, ...], predicted: tuple[int, ...]) -> None:
    rng = np.random.default_rng(0)
    batches = []
    for shape in ((2, 7, 9), (1, 7, 9), (3, 4, 5)):
        truth = rng.choice(in_truth, shape)
        truth[rng.random(shape) < 0.2] = IGNORE
        batches.append((rng.choice(predicted, shape), truth))
    miou, fwiou, macc, ious = reference(
        np.concatenate([prediction.ravel() for prediction, _ in batches]),
        np.concatenate([truth.ravel() for _, truth in batches]),
        classes=5,
    )
    scores = scored(5, *batches)
    assert (scores.miou, scores.fwiou, scores.macc) == pytest.approx((miou, fwiou, macc))
    assert scores.score == pytest.approx(np.exp(np.mean(np.log([miou, fwiou, macc]))) if miou else 0)
    found = [float("nan") if iou is None else iou for iou in scores.iou_per_class]
    assert found == pytest.approx(ious, nan_ok=True)


def test_ignored_pixels_count_for_nothing() -> None:
    plain = scored(3, ([0, 1, 2, 2], [0, 1, 1, 2]))
    padded = scored(3, ([0, 1, 2, 2, 0, 1, 2], [0, 1, 1, 2, 255, 255, 255]))
    assert padded == plain


def test_rows_are_truth() -> None:
    confusion = ConfusionMatrix(2)
    confusion.update(torch.tensor([1, 1, 0]), torch.tensor([0, 0, 0]))
    assert confusion.counts.tolist() == [[1, 2], [0, 0]]
    scores = scores_from_confusion(confusion.counts)
    assert scores.macc == pytest.approx(1 / 3)  # class 1 is predicted but not there: it has no recall
    assert scores.miou == pytest.approx(1 / 6)  # and an IoU of 0


def test_nothing_labelled_is_refused() -> None:
    confusion = ConfusionMatrix(2)
    with pytest.raises(ValueError, match="no labelled pixel"):
        confusion.scores()
    confusion.update(torch.tensor([0, 1]), torch.tensor([255, 255]))
    with pytest.raises(ValueError, match="no labelled pixel"):
        confusion.scores()


def test_the_authors_mean_accuracy() -> None:
    """Class 2 is predicted and not in the truth: its IoU of 0 counts in both forms, an accuracy of 2 in theirs."""
    confusion = torch.tensor([[6, 0, 2, 0], [1, 3, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
    ours, theirs = scores_from_confusion(confusion), scores_from_confusion(confusion, reference=True)
    assert ours.macc == pytest.approx((6 / 8 + 3 / 4) / 2)
    assert theirs.macc == pytest.approx((6 / 8 + 3 / 4 + 2) / 3)
    assert (ours.miou, ours.fwiou, ours.iou_per_class[:3]) == (theirs.miou, theirs.fwiou, theirs.iou_per_class[:3])
    assert theirs.score == pytest.approx((theirs.miou * theirs.fwiou * theirs.macc) ** (1 / 3))
    assert scores_from_confusion(confusion[:2, :2]) == scores_from_confusion(confusion[:2, :2], reference=True)
