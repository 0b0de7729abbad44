"""Segmentation scores from one confusion matrix."""

from vseg_nas.metrics.confusion import ConfusionMatrix, SegmentationScores, scores_from_confusion

__all__ = ["ConfusionMatrix", "SegmentationScores", "scores_from_confusion"]
