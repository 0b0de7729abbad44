"""Segmentation scores from one confusion matrix, and temporal consistency along a run."""

from vseg_nas.metrics.confusion import ConfusionMatrix, scores_from_confusion
from vseg_nas.metrics.consistency import (
    ConsistencyResult,
    TemporalConsistency,
    VideoConsistency,
    tc_refusal,
    vc_refusal,
)
from vseg_nas.results.scores import SegmentationScores

__all__ = [
    "ConfusionMatrix",
    "ConsistencyResult",
    "SegmentationScores",
    "TemporalConsistency",
    "VideoConsistency",
    "scores_from_confusion",
    "tc_refusal",
    "vc_refusal",
]
