"""Random search: the baseline that every strategy has to beat."""

import random
from collections.abc import Sequence
from typing import Any

from vseg_nas.nas.seeds import derive_seed
from vseg_nas.nas.trial import Trial
from vseg_nas.space import Genotype, SearchSpace


class RandomSearch:
    """Draws every token of a cell uniformly, and learns nothing.

    Args:
        space: Search space to draw from.
        seed: Seed of the search.
    """

    def __init__(self, space: SearchSpace, seed: int) -> None:
        self._space = space
        self._rng = random.Random(derive_seed(seed, "random"))

    def ask(self, n: int) -> list[Genotype]:
        """See `Strategy`."""
        return [self._space.sample(self._rng) for _ in range(n)]

    def tell(self, trials: Sequence[Trial]) -> None:
        """Does nothing."""

    def diagnostics(self) -> dict[str, float]:
        """Is empty, since nothing is learnt."""
        return {}

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of the random numbers."""
        return {"rng": self._rng.getstate()}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` has returned."""
        self._rng.setstate(state["rng"])
