"""The search space: all cells of a given vocabulary, number of layers and width."""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass

from vseg_nas.space.genotype import Genotype, Width, check_size
from vseg_nas.space.vocabulary import PAPER, TOKENS_PER_LAYER, Vocabulary


@dataclass(frozen=True)
class SearchSpace:
    """All cells of a given vocabulary, number of layers and width (section 3.2).

    Attributes:
        layers: The number of layers; 5 on CamVid, 4 on CityScapes (section 4.1).
        width: The number of channels inside the cell, or ``"native"`` to keep the channels of the inputs.
        vocabulary: The inputs, operations and aggregations.

    Raises:
        ValueError: On construction, for sizes that no genotype may have.
    """

    layers: int
    width: Width = 64
    vocabulary: Vocabulary = PAPER

    def __post_init__(self) -> None:
        """Refuses sizes that no genotype may have."""
        check_size(self.layers, self.width)

    @property
    def token_sizes(self) -> tuple[int, ...]:
        """The number of values that each token can take, in the order in which the controller emits them."""
        sizes = [size for index in range(self.layers) for size in self.vocabulary.layer_sizes(index)]
        return (len(self.vocabulary.encoder_stages), *sizes) if self.is_masked else tuple(sizes)

    @property
    def num_tokens(self) -> int:
        """The number of tokens of one cell."""
        return len(self.token_sizes)

    @property
    def is_masked(self) -> bool:
        """Whether the values that a token may take depend on the tokens before it; if not, all are allowed."""
        return bool(self.vocabulary.encoder_stages)

    def allowed(self, before: Sequence[int]) -> tuple[int, ...]:
        """Returns the values that the next token may take, ascending; there always is one.

        Args:
            before: The tokens before it, fewer than a cell has, each one allowed after those before it.
        """
        vocabulary, stages = self.vocabulary, None
        if self.is_masked:
            if not before:
                return tuple(range(len(vocabulary.encoder_stages)))
            stages, before = vocabulary.encoder_stages[before[0]], before[1:]
        index, within = divmod(len(before), TOKENS_PER_LAYER)
        return vocabulary.choices(stages, index, tuple(before[len(before) - within :]))

    @property
    def cardinality(self) -> int:
        """The number of allowed token sequences; several of them may describe the same network."""
        encoders: tuple[int | None, ...] = self.vocabulary.encoder_stages or (None,)
        return sum(math.prod(self._count(stages, index) for index in range(self.layers)) for stages in encoders)

    def _count(self, stages: int | None, index: int, before: tuple[int, ...] = ()) -> int:
        """Returns the number of allowed ways to complete the tokens of a layer."""
        values = self.vocabulary.choices(stages, index, before)
        if len(before) == TOKENS_PER_LAYER - 1:
            return len(values)
        return sum(self._count(stages, index, (*before, value)) for value in values)

    def genotype(self, tokens: Sequence[int]) -> Genotype:
        """Returns the cell that ``tokens`` describe.

        Raises:
            ValueError: There are too few or too many tokens, or one is out of range or not allowed.
        """
        if len(tokens) != self.num_tokens:
            raise ValueError(f"tokens: found {len(tokens)}, expected {self.num_tokens} for {self.layers} layers")
        return Genotype.from_tokens(tokens, self.width, self.vocabulary)

    def sample(self, rng: random.Random) -> Genotype:
        """Returns a cell each of whose tokens is drawn uniformly from the values that are allowed after the others."""
        tokens: list[int] = []
        for _ in range(self.num_tokens):
            values = self.allowed(tokens)
            tokens.append(values[rng.randrange(len(values))])
        return self.genotype(tokens)
