"""Scores and times in the form that all commands write. Scores are fractions."""

from collections.abc import Sequence
from typing import Annotated, Self

import numpy as np
from pydantic import Discriminator, Field, Tag

from vseg_nas.results.result import Amount, Count, Fraction, Record, ReferenceFraction, Text


class SegmentationScores(Record):
    """Scores of one confusion matrix.

    Attributes:
        miou: Mean intersection over union, over classes with a non-empty union.
        fwiou: IoU weighted by the share of true pixels.
        macc: Mean class recall, over classes with true pixels; in the reference form it may exceed 1.
        score: Geometric mean of the three, the reward of the search (section 3.3).
        iou_per_class: IoU of each class, by id; None where the union is empty.
    """

    miou: Fraction
    fwiou: Fraction
    macc: ReferenceFraction
    score: ReferenceFraction
    iou_per_class: tuple[Fraction | None, ...]


SCORE_NAMES = ("miou", "fwiou", "macc", "score")
"""The fields of `SegmentationScores` that are one number each."""


class DistanceScore(Record):
    """The mIoU of the frames at one distance, or group of distances, from the key frame that the protocol sets.

    Distances over 8 are grouped: 9 stands for 9 to 16, 17 for 17 to 32 and so on. The static network labels the same
    frames, each of them as a key frame.

    Attributes:
        distance: Frames since the key frame.
        frames: The number of frames that were scored.
        miou: The mIoU of their confusion matrix; None without frames.
    """

    distance: Count
    frames: Count
    miou: Fraction | None


class RollingScores(SegmentationScores):
    """Scores over all labelled frames of full sequences, key frames included.

    Attributes:
        by_distance: The scores by distance from the key frame of the protocol, so that methods compare frame by frame.
        average: Mean of the mIoUs over distances, all with the same weight; None if nothing was scored.
        minimum: The mIoU at the worst distance.
    """

    by_distance: tuple[DistanceScore, ...]
    average: Fraction | None
    minimum: Fraction | None


class Consistency(Record):
    """One metric of temporal consistency in both forms.

    Attributes:
        correct: The value by our definition.
        reference: The value that the published script computes.
        windows: The number of windows of frames that ``correct`` covers.
        flow: The source of optical flow, if any was used.
    """

    correct: Fraction | None
    reference: Fraction | None
    windows: Count
    flow: Text | None


class NotMeasured(Record):
    """The reason why a metric of temporal consistency was not measured."""

    skip_reason: Annotated[Text, Field(alias="refused")]


def _tag(value: object) -> str | None:
    if isinstance(value, NotMeasured) or (isinstance(value, dict) and "refused" in value):
        return "<skipped>"
    return "<measured>" if isinstance(value, Consistency | dict) else None


AnyConsistency = Annotated[
    Annotated[Consistency, Tag("<measured>")] | Annotated[NotMeasured, Tag("<skipped>")], Discriminator(_tag)
]
"""A metric of temporal consistency, or the reason why it was not measured."""


class Quartiles(Record):
    """The median of repeated measurements with the quartiles below and above it."""

    median: Amount
    low: Amount
    high: Amount

    @classmethod
    def of(cls, samples: Sequence[float]) -> Self:
        """Returns the quartiles of samples, interpolated linearly between them."""
        low, median, high = np.percentile(samples, (25, 50, 75)).tolist()
        return cls(median=median, low=low, high=high)
