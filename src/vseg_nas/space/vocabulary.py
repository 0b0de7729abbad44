"""The vocabularies of the tokens: the inputs, operations and aggregations that a cell may use.

A token is an index into one of these tuples. Later layers of a cell read the result of layer i as input n + i, where n
is the number of inputs: 5 in the paper's space, 7 in the space `streaming`.
"""

from dataclasses import dataclass
from functools import lru_cache

INPUTS = ("prev_layer4", "prev_dec", "layer2", "layer3", "layer4")
"""The paper's inputs (section 3.1)."""
INPUT_STRIDES = (32, 8, 8, 16, 32)
"""The stride of each input, in pixels of the frame; a plane of stride s has ceil(H / s) x ceil(W / s) values."""
DEC_STRIDE = INPUT_STRIDES[INPUTS.index("prev_dec")]
"""The stride of dec and of the logits, in pixels of the frame."""

OPERATIONS = (
    "sep_conv_3x3",
    "global_avg_pool",
    "sep_conv_3x3_rate_3",
    "sep_conv_5x5_rate_6",
    "skip",
    "deform_conv_3x3",
)
"""The operations of Table 1."""
AGGREGATIONS = ("param_sum", "concat", "predictive", "affine_bilinear", "conv_3d", "dense_attention")
"""The aggregations of Table 2."""

# Swapping the two inputs of these aggregations only permutes their weights. The other aggregations treat their inputs
# differently: one of them predicts how the other one is filtered, sampled or gated.
SYMMETRIC_AGGREGATIONS = frozenset(map(AGGREGATIONS.index, ("param_sum", "concat", "conv_3d")))

TOKENS_PER_LAYER = 5  # input1, input2, op1, op2, aggregation
_MOST_STAGES = 4  # of the encoder

# Short names for `Genotype.expression`. The skip operation has an empty one, because its input then stands alone.
INPUT_SYMBOLS = ("prev_l4", "prev_dec", "l2", "l3", "l4")
OPERATION_SYMBOLS = ("sep3", "gap", "sep3r3", "sep5r6", "", "deform")
AGGREGATION_SYMBOLS = ("sum", "cat", "predict", "affine", "conv3d", "attend")


@dataclass(frozen=True)
class Vocabulary:
    """The words of a space of cells, and which of them may follow which.

    An input that is constant has one value for the whole plane, and in training for the whole batch. Batch norm would
    map such a plane to zero in training, and divide it by a standard deviation of nearly zero afterwards. So a constant
    is read by ``skip`` alone, by one side of a layer only, and by no side that an aggregation normalises or only moves.

    Attributes:
        name: The name of the vocabulary, which cells in JSON carry if it is not the paper's.
        inputs: The names of the inputs of a cell.
        input_strides: The stride of each input, in pixels of the frame.
        input_stages: The number of encoder stages that have to run in every frame for each input.
        operations: The names of the operations.
        aggregations: The names of the aggregations.
        symmetric: The aggregations in which a swap of the two sides only permutes weights, as indices.
        input_symbols: Short names of the inputs, for `Genotype.expression`.
        operation_symbols: Short names of the operations.
        aggregation_symbols: Short names of the aggregations.
        encoder_stages: The numbers of encoder stages among which a cell's first token chooses; without any, cells have
            no such token and may read all inputs.
        constants: The inputs that are constant, as indices.
        no_constant: The aggregations whose first, and those whose second side must not be constant, as indices.
    """

    name: str
    inputs: tuple[str, ...]
    input_strides: tuple[int, ...]
    input_stages: tuple[int, ...]
    operations: tuple[str, ...]
    aggregations: tuple[str, ...]
    symmetric: frozenset[int]
    input_symbols: tuple[str, ...]
    operation_symbols: tuple[str, ...]
    aggregation_symbols: tuple[str, ...]
    encoder_stages: tuple[int, ...] = ()
    constants: frozenset[int] = frozenset()
    no_constant: tuple[frozenset[int], frozenset[int]] = (frozenset(), frozenset())

    def layer_sizes(self, index: int) -> tuple[int, int, int, int, int]:
        """Returns the number of values that each token of layer ``index`` can take.

        A layer may read the inputs of the cell and all earlier layers, so the first two sizes grow with the index.
        """
        pool, operations = len(self.inputs) + index, len(self.operations)
        return pool, pool, operations, operations, len(self.aggregations)

    def choices(self, stages: int | None, index: int, before: tuple[int, ...]) -> tuple[int, ...]:
        """Returns the values that the next token of a layer may take, ascending; there always is one.

        Args:
            stages: The number of encoder stages that the cell may read; None if its first token does not choose them.
            index: The number of the layer.
            before: The tokens of the layer that stand before the next one, at most four.
        """
        return _choices(self, stages or _MOST_STAGES, index, before)


@lru_cache(4096)
def _choices(vocabulary: Vocabulary, stages: int, index: int, before: tuple[int, ...]) -> tuple[int, ...]:
    values = range(vocabulary.layer_sizes(index)[len(before)])
    constant = [source in vocabulary.constants for source in before[:2]]
    match len(before):
        case 0 | 1:
            needed = vocabulary.input_stages + (0,) * index  # earlier layers need no stage beside those of the inputs
            excluded = vocabulary.constants if any(constant) else frozenset()
            return tuple(source for source in values if needed[source] <= stages and source not in excluded)
        case 2 | 3:
            return (vocabulary.operations.index("skip"),) if constant[len(before) - 2] else tuple(values)
        case _:
            refused = [side for side, is_constant in zip(vocabulary.no_constant, constant, strict=True) if is_constant]
            return tuple(value for value in values if not any(value in side for side in refused))


PAPER = Vocabulary(
    "paper",
    INPUTS,
    INPUT_STRIDES,
    (4, 0, 2, 3, 4),
    OPERATIONS,
    AGGREGATIONS,
    SYMMETRIC_AGGREGATIONS,
    INPUT_SYMBOLS,
    OPERATION_SYMBOLS,
    AGGREGATION_SYMBOLS,
)
"""Sections 3.1 and 3.2, Tables 1 and 2."""

_STREAMING_INPUTS = (*INPUTS, "prev_layer2", "distance")
_STREAMING_AGGREGATIONS = (*AGGREGATIONS, "align", "gated_residual")
STREAMING = Vocabulary(
    "streaming",
    _STREAMING_INPUTS,
    (*INPUT_STRIDES, 8, 8),
    (*PAPER.input_stages, 2, 0),
    OPERATIONS,
    _STREAMING_AGGREGATIONS,
    SYMMETRIC_AGGREGATIONS,
    (*INPUT_SYMBOLS, "prev_l2", "dist"),
    OPERATION_SYMBOLS,
    (*AGGREGATION_SYMBOLS, "align", "gate"),
    encoder_stages=(2, 3, 4),
    constants=frozenset({_STREAMING_INPUTS.index("distance")}),
    no_constant=(
        frozenset(map(_STREAMING_AGGREGATIONS.index, ("concat", "affine_bilinear"))),
        frozenset(map(_STREAMING_AGGREGATIONS.index, ("concat", "predictive", "align"))),
    ),
)
"""The paper's vocabulary and what cheap cells at video rate need; every word of the paper keeps its index."""

VOCABULARIES = {vocabulary.name: vocabulary for vocabulary in (PAPER, STREAMING)}
