"""Pruners: whether to end the training of an unpromising cell, decided once, half-way through it (section 4.1).

A pruner is told the half-way score of every trained cell in the order in which trials are told to the strategy, not
while they train. So its answers to cells that are evaluated side by side do not depend on which of them is faster. Its
memory is part of the state of the search.
"""

import copy
import random
import statistics
from typing import Any, Protocol

from vseg_nas.nas.seeds import derive_seed
from vseg_nas.nas.settings import HalfwaySettings, MedianSettings, PrunerSettings


class Pruner(Protocol):
    """Is asked once for each cell, after half of its epochs; picklable, since workers are sent a copy."""

    def should_prune(self, score: float) -> bool:
        """Returns whether a training with this half-way score (a fraction) should end; the pruner does not change."""
        ...

    def report(self, score: float) -> None:
        """Remembers the half-way score of a cell that has been evaluated."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Returns everything that later answers depend on, as plain data."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` has returned."""
        ...


def is_halfway(epoch: int, epochs: int) -> bool:
    """Returns whether the pruner is asked after epoch `epoch` of `epochs` (1-based)."""
    return epoch == epochs // 2


class NoPruner:
    """Every cell trains to the end."""

    def should_prune(self, score: float) -> bool:
        """Always false."""
        return False

    def report(self, score: float) -> None:
        """Remembers nothing."""

    def state_dict(self) -> dict[str, Any]:
        """Returns an empty dictionary, since nothing is remembered."""
        return {}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Loads nothing, since nothing is remembered."""


class HalfwayPruner:
    """The authors' rule: a cell above the moving average m of scores is kept, any other has a random chance.

    For the n-th score s (n = 0, 1, ...)::

        delta <- delta * {100: .9, 200: .8, 300: .7, 400: .6}[n]    at these n only; from .9 down to .272
        m     <- .99 m + .01 s                                      .01 at first; contains s itself
        keep if s > m, else keep if s > m * (1 - u), u drawn from U(0, delta)

    The average starts near zero and is not corrected for that, so hardly any of the first hundred cells is pruned:
    after n similar scores s it is about s * (1 - .99^n). For short searches see `MedianPruner`. The authors' code
    counts a cell above the average twice and so misses some of the n at which delta shrinks; here every cell counts
    once. Cells that are asked for together see the same delta, m and u.

    Args:
        seed: Seed of the search; the draws of u derive their own from it.
        initial_average: Value of m before the first score.
        decay: Weight of the old m in the new one.
        initial_delta: Value of delta before the first score.
        reference: Whether to count a cell above the average twice, as the authors' code does.
    """

    def __init__(
        self,
        seed: int,
        *,
        initial_average: float = 0.01,
        decay: float = 0.99,
        initial_delta: float = 0.9,
        reference: bool = False,
    ) -> None:
        self._rng = random.Random(derive_seed(seed, "halfway"))
        self._average = initial_average
        self._decay = decay
        self._delta = initial_delta
        self._reference = reference
        self._seen = 0

    def should_prune(self, score: float) -> bool:
        """Returns what `report` would decide, on a copy: the answer must change neither average nor random numbers."""
        return not copy.deepcopy(self)._keep(score)

    def report(self, score: float) -> None:
        """Counts a score: delta, m and u are those of the next n."""
        self._keep(score)

    def _keep(self, score: float) -> bool:
        self._delta *= {100: 0.9, 200: 0.8, 300: 0.7, 400: 0.6}.get(self._seen, 1.0)
        self._seen += 1
        self._average = self._decay * self._average + (1 - self._decay) * score
        above = score > self._average
        if self._reference and above:
            self._seen += 1
        return above or score > self._average * (1 - self._rng.uniform(0, self._delta))

    def state_dict(self) -> dict[str, Any]:
        """Returns the average, delta, count and random numbers."""
        return {
            "average": self._average,
            "delta": self._delta,
            "seen": self._seen,
            "rng": self._rng.getstate(),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` has returned."""
        self._average = state["average"]
        self._delta = state["delta"]
        self._seen = state["seen"]
        self._rng.setstate(state["rng"])


class MedianPruner:
    """A cell is pruned if it is worse than the median of the half-way scores before it.

    Args:
        warm_up: Number of first cells that are all kept, at least 1.
    """

    def __init__(self, *, warm_up: int = 5) -> None:
        if warm_up < 1:
            raise ValueError(f"warm_up: found {warm_up}, expected at least 1")
        self._warm_up = warm_up
        self._scores: list[float] = []

    def should_prune(self, score: float) -> bool:
        """Returns whether the score is below the median, once there are `warm_up` scores."""
        return len(self._scores) >= self._warm_up and score < statistics.median(self._scores)

    def report(self, score: float) -> None:
        """Adds the score to those that the median is taken of."""
        self._scores.append(score)

    def state_dict(self) -> dict[str, Any]:
        """Returns all scores so far."""
        return {"scores": list(self._scores)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` has returned."""
        self._scores = list(state["scores"])


def build_pruner(settings: PrunerSettings, seed: int) -> Pruner:
    """Returns the pruner that the settings describe."""
    match settings:
        case HalfwaySettings():
            return HalfwayPruner(seed, reference=settings.reference)
        case MedianSettings():
            return MedianPruner()
        case _:
            return NoPruner()
