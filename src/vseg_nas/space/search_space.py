"""The search space: all cells of a given number of layers and width."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from vseg_nas.space.genotype import Genotype, Width, check_size, layer_token_sizes


@dataclass(frozen=True)
class SearchSpace:
    """All cells of a given number of layers and width (section 3.2).

    Attributes:
        layers: The number of layers; 5 on CamVid, 4 on CityScapes (section 4.1).
        width: The number of channels inside the cell, or ``"native"`` to keep the channels of the inputs.

    Raises:
        ValueError: On construction, for sizes that no genotype may have.
    """

    layers: int
    width: Width = 64

    def __post_init__(self) -> None:
        """Refuses sizes that no genotype may have."""
        check_size(self.layers, self.width)

    @property
    def token_sizes(self) -> tuple[int, ...]:
        """The number of values that each token can take, in the order in which the controller emits them."""
        return tuple(size for index in range(self.layers) for size in layer_token_sizes(index))

    @property
    def num_tokens(self) -> int:
        """The number of tokens of one cell."""
        return len(self.token_sizes)

    @property
    def cardinality(self) -> int:
        """The number of token sequences; several of them may describe the same network."""
        return math.prod(self.token_sizes)

    def genotype(self, tokens: Sequence[int]) -> Genotype:
        """Returns the cell that ``tokens`` describe.

        Raises:
            ValueError: There are too few or too many tokens, or one is out of range.
        """
        if len(tokens) != self.num_tokens:
            raise ValueError(f"tokens: found {len(tokens)}, expected {self.num_tokens} for {self.layers} layers")
        return Genotype.from_tokens(tokens, self.width)

    def sample(self, rng: random.Random) -> Genotype:
        """Returns a cell whose tokens are drawn uniformly and independently."""
        return self.genotype([rng.randrange(size) for size in self.token_sizes])
