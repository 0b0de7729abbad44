"""The set of cells that a search may find."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from vseg_nas.space.genotype import Genotype, Width, check_size, layer_token_sizes


@dataclass(frozen=True)
class SearchSpace:
    """All cells of a given number of layers and width (section 3.2).

    Attributes:
        layers: 5 on CamVid, 4 on CityScapes (section 4.1).
        width: channels inside the cell, or ``"native"``.

    Raises:
        ValueError: on construction, for sizes that no genotype may have.
    """

    layers: int
    width: Width = 64

    def __post_init__(self) -> None:
        """Refuses sizes that no genotype may have."""
        check_size(self.layers, self.width)

    @property
    def token_sizes(self) -> tuple[int, ...]:
        """How many values each token can take, in the order of emission."""
        return tuple(size for index in range(self.layers) for size in layer_token_sizes(index))

    @property
    def num_tokens(self) -> int:
        """Tokens in one cell."""
        return len(self.token_sizes)

    @property
    def cardinality(self) -> int:
        """Number of token strings; several may spell the same network."""
        return math.prod(self.token_sizes)

    def genotype(self, tokens: Sequence[int]) -> Genotype:
        """The cell that ``tokens`` spell.

        Raises:
            ValueError: the tokens are too few or too many, or one is out of range.
        """
        if len(tokens) != self.num_tokens:
            raise ValueError(f"tokens: found {len(tokens)}, expected {self.num_tokens} for {self.layers} layers")
        return Genotype.from_tokens(tokens, self.width)

    def sample(self, rng: random.Random) -> Genotype:
        """A uniform draw per token."""
        return self.genotype([rng.randrange(size) for size in self.token_sizes])
