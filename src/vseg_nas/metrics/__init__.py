"""Segmentation scores from one confusion matrix, and temporal consistency of predictions along a sequence."""

from vseg_nas.metrics.confusion import ConfusionMatrix, scores_from_confusion
from vseg_nas.metrics.temporal_consistency import (
    ConsistencyResult,
    TemporalConsistency,
    VideoConsistency,
    tc_skip_reason,
    vc_skip_reason,
)
from vseg_nas.results.scores import SegmentationScores

__all__ = [
    "ConfusionMatrix",
    "ConsistencyResult",
    "SegmentationScores",
    "TemporalConsistency",
    "VideoConsistency",
    "scores_from_confusion",
    "tc_skip_reason",
    "vc_skip_reason",
]
