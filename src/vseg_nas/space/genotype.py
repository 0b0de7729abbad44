"""The genotype: a cell as plain data, checked on construction, with a key that identifies its network, and as JSON.

Nothing here builds tensors. Nothing is pruned either: a layer that no later layer reads is an output of the cell.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from reprlib import repr as brief  # bounded, since the value may come from a file that somebody else made
from typing import Literal, NamedTuple, Self

from vseg_nas.space import strict_json
from vseg_nas.space.canonical import canonical_layers
from vseg_nas.space.vocabulary import (
    AGGREGATION_SYMBOLS,
    AGGREGATIONS,
    INPUT_SYMBOLS,
    INPUTS,
    OPERATION_SYMBOLS,
    OPERATIONS,
    TOKENS_PER_LAYER,
)

Width = int | Literal["native"]

FORMAT = 1
MAX_LAYERS = 10  # twice the paper's number; it also bounds the time that the canonical form takes
MAX_WIDTH = 1024


class Layer(NamedTuple):
    """One layer: op1 applied to input1 and op2 applied to input2, both results aggregated (section 3.2)."""

    input1: int
    input2: int
    op1: int
    op2: int
    aggregation: int


def layer_token_sizes(index: int) -> tuple[int, int, int, int, int]:
    """Returns the number of values that each token of layer ``index`` can take.

    A layer may read the inputs of the cell and all earlier layers, so the first two sizes grow with the index.
    """
    pool = len(INPUTS) + index
    return pool, pool, len(OPERATIONS), len(OPERATIONS), len(AGGREGATIONS)


def check_size(layers: int, width: object) -> None:
    """Checks the number of layers and the width of a cell.

    Raises:
        ValueError: The number or the width is outside the allowed range.
    """
    if type(layers) is not int or not 1 <= layers <= MAX_LAYERS:
        raise ValueError(f"layers: found {brief(layers)}, expected 1..{MAX_LAYERS}")
    if width != "native" and (type(width) is not int or not 1 <= width <= MAX_WIDTH):
        raise ValueError(f"width: found {brief(width)}, expected 1..{MAX_WIDTH} or 'native'")


@dataclass(frozen=True)
class Genotype:
    """The layout of a dynamic cell.

    Equality compares the tokens. Two genotypes with the same `key` describe the same network.

    Attributes:
        layers: The layers in order; an input token of 5 + i reads layer i.
        width: The number of channels inside the cell, or ``"native"`` to keep the channels of the inputs.

    Raises:
        ValueError: On construction, if a token or size is invalid; the message says which, and what was expected.
    """

    layers: tuple[Layer, ...]
    width: Width = 64

    def __post_init__(self) -> None:
        """Refuses what cannot be built as a network, so that an invalid candidate never exists."""
        if type(self.layers) is not tuple:
            raise ValueError(f"layers: found {type(self.layers).__name__}, expected a tuple of Layer")
        check_size(len(self.layers), self.width)
        for index, layer in enumerate(self.layers):
            if not isinstance(layer, Layer):
                raise ValueError(f"layer {index}: found {brief(layer)}, expected a Layer")
            for name, token, size in zip(Layer._fields, layer, layer_token_sizes(index), strict=True):
                if type(token) is not int or not 0 <= token < size:
                    raise ValueError(
                        f"layer {index}, {name}: found {brief(token)}, expected an integer in 0..{size - 1}"
                    )

    @classmethod
    def from_tokens(cls, tokens: Sequence[int], width: Width = 64) -> Self:
        """Returns the genotype of a flat sequence of tokens, five per layer: input1, input2, op1, op2, aggregation."""
        if len(tokens) % TOKENS_PER_LAYER:
            raise ValueError(f"tokens: found {len(tokens)}, expected a multiple of {TOKENS_PER_LAYER}")
        starts = range(0, len(tokens), TOKENS_PER_LAYER)
        return cls(tuple(Layer(*tokens[start : start + TOKENS_PER_LAYER]) for start in starts), width)

    @property
    def tokens(self) -> tuple[int, ...]:
        """All tokens in one flat tuple, in the order in which the controller emits them."""
        return tuple(token for layer in self.layers for token in layer)

    @property
    def _sources(self) -> frozenset[int]:
        return frozenset(source for layer in self.layers for source in (layer.input1, layer.input2))

    @property
    def reads(self) -> frozenset[int]:
        """Ids of those inputs of the cell that at least one layer reads."""
        return self._sources & frozenset(range(len(INPUTS)))

    @property
    def outputs(self) -> tuple[int, ...]:
        """Indices of the layers that no other layer reads, ascending; the cell concatenates their results."""
        sources = self._sources
        return tuple(index for index in range(len(self.layers)) if len(INPUTS) + index not in sources)

    @cached_property
    def key(self) -> str:
        """An identifier that is equal exactly for genotypes of the same network; it is a valid file name."""
        layers = canonical_layers(self.layers)
        return "_".join([str(self.width), *(".".join(map(str, layer)) for layer in layers)])

    def expression(self) -> str:
        """Returns one line such as ``a = cat(sep3(prev_dec), l2); b = attend(deform(a), gap(l4)); out = b``."""
        names = [*INPUT_SYMBOLS, *(chr(ord("a") + index) for index in range(len(self.layers)))]

        def side(source: int, op: int) -> str:
            return f"{OPERATION_SYMBOLS[op]}({names[source]})" if OPERATION_SYMBOLS[op] else names[source]

        lines = [
            f"{names[len(INPUTS) + index]} = {AGGREGATION_SYMBOLS[layer.aggregation]}"
            f"({side(layer.input1, layer.op1)}, {side(layer.input2, layer.op2)})"
            for index, layer in enumerate(self.layers)
        ]
        outputs = ", ".join(names[len(INPUTS) + index] for index in self.outputs)
        return "; ".join([*lines, f"out = {outputs}"])

    def to_dict(self) -> dict[str, object]:
        """Returns plain data: the format version, the width, and one list of five tokens per layer."""
        return {"format": FORMAT, "width": self.width, "layers": [list(layer) for layer in self.layers]}

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Returns the genotype that `to_dict` made ``data`` from.

        Raises:
            ValueError: The data have another schema or format version, or describe an invalid cell.
        """
        expected = ["format", "layers", "width"]
        if not isinstance(data, dict) or sorted(map(str, data)) != expected:
            found = brief(sorted(map(str, data))) if isinstance(data, dict) else type(data).__name__
            raise ValueError(f"genotype: found {found}, expected an object with the keys {expected}")
        if type(data["format"]) is not int or data["format"] != FORMAT:
            raise ValueError(f"format: found {brief(data['format'])}, expected {FORMAT}")
        if not isinstance(data["layers"], list):
            raise ValueError(f"layers: found {type(data['layers']).__name__}, expected a list")
        for index, layer in enumerate(data["layers"]):
            if not isinstance(layer, list) or len(layer) != TOKENS_PER_LAYER:
                raise ValueError(f"layer {index}: found {brief(layer)}, expected a list of {TOKENS_PER_LAYER} integers")
        return cls(tuple(Layer(*layer) for layer in data["layers"]), data["width"])

    def to_json(self) -> str:
        """Returns `to_dict` as one line of JSON, together with the canonical key, by which damage is noticed."""
        return json.dumps({**self.to_dict(), "key": self.key})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Returns the genotype that `to_json` wrote; the text may come from an untrusted file.

        The text has at most 64 kB and exactly the keys that `to_json` writes, of which the key may be left out.

        Raises:
            ValueError: The text is too long, is not JSON, has another schema, describes an invalid cell, or holds the
                key of another cell.
        """
        data = strict_json.loads(text)
        if not isinstance(data, dict) or "key" not in data:
            return cls.from_dict(data)
        genotype = cls.from_dict({name: value for name, value in data.items() if name != "key"})
        if data["key"] != genotype.key:
            raise ValueError(f"key: found {brief(data['key'])}, expected {genotype.key}; leave it out after a change")
        return genotype
