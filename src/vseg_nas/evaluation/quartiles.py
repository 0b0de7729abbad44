"""Repeated measurements in three numbers; no torch here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Quartiles:
    """The median of repeated measurements with the quartiles below and above it."""

    median: float
    low: float
    high: float

    @classmethod
    def of(cls, samples: Sequence[float]) -> Self:
        """Interpolates linearly between the samples."""
        low, median, high = np.percentile(samples, (25, 50, 75)).tolist()
        return cls(median, low, high)
