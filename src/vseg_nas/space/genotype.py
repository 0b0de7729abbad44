"""The genotype: a cell as plain data, checked on construction, with a key that identifies its network, and as JSON.

Nothing here builds tensors. Nothing is pruned either: a layer that no later layer reads is an output of the cell.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from reprlib import repr as brief  # bounded, since the value may come from a file that somebody else made
from typing import Literal, NamedTuple, Self

from vseg_nas.space import strict_json
from vseg_nas.space.canonical import canonical_layers
from vseg_nas.space.vocabulary import PAPER, TOKENS_PER_LAYER, VOCABULARIES, Vocabulary

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
        layers: The layers in order; with n inputs, an input token of n + i reads layer i.
        width: The number of channels inside the cell, or ``"native"`` to keep the channels of the inputs.
        vocabulary: The vocabulary of the tokens.
        encoder: The number of encoder stages that the layers may read, as the controller has chosen it; None if the
            vocabulary has no token for it. Which stages run depends on what the layers do read, so networks with equal
            layers are the same.

    Raises:
        ValueError: On construction, if a token or size is invalid; the message says which, and what was expected.
    """

    layers: tuple[Layer, ...]
    width: Width = 64
    vocabulary: Vocabulary = field(default=PAPER, repr=False)
    encoder: int | None = None

    def __post_init__(self) -> None:
        """Refuses what cannot be built as a network, so that an invalid candidate never exists."""
        if type(self.layers) is not tuple:
            raise ValueError(f"layers: found {type(self.layers).__name__}, expected a tuple of Layer")
        check_size(len(self.layers), self.width)
        encoders: tuple[int | None, ...] = self.vocabulary.encoder_stages or (None,)
        if self.encoder not in encoders or isinstance(self.encoder, bool | float):
            expected = " or ".join(map(str, encoders))
            raise ValueError(f"encoder: found {brief(self.encoder)}, expected {expected}")
        for index, layer in enumerate(self.layers):
            if not isinstance(layer, Layer):
                raise ValueError(f"layer {index}: found {brief(layer)}, expected a Layer")
            sizes = self.vocabulary.layer_sizes(index)
            for position, (name, token, size) in enumerate(zip(Layer._fields, layer, sizes, strict=True)):
                if type(token) is not int or not 0 <= token < size:
                    raise ValueError(
                        f"layer {index}, {name}: found {brief(token)}, expected an integer in 0..{size - 1}"
                    )
                allowed = self.vocabulary.choices(self.encoder, index, layer[:position])
                if token not in allowed:
                    raise ValueError(
                        f"layer {index}, {name}: found {token}, expected one of {', '.join(map(str, allowed))} after "
                        "the tokens before it"
                    )

    @classmethod
    def from_tokens(cls, tokens: Sequence[int], width: Width = 64, vocabulary: Vocabulary = PAPER) -> Self:
        """Returns the genotype of a flat sequence of tokens, five per layer: input1, input2, op1, op2, aggregation.

        If the vocabulary has encoder stages to choose from, the index of the chosen one comes first.

        Raises:
            ValueError: The number of tokens does not fit, or one is out of range or not allowed after those before it.
        """
        encoder, stages = None, vocabulary.encoder_stages
        if stages:
            if not tokens or type(tokens[0]) is not int or not 0 <= tokens[0] < len(stages):
                found = brief(tokens[0]) if tokens else "none"
                raise ValueError(f"encoder: found {found}, expected an integer in 0..{len(stages) - 1}")
            encoder, tokens = stages[tokens[0]], tokens[1:]
        if len(tokens) % TOKENS_PER_LAYER:
            raise ValueError(f"tokens: found {len(tokens)}, expected a multiple of {TOKENS_PER_LAYER}")
        starts = range(0, len(tokens), TOKENS_PER_LAYER)
        layers = tuple(Layer(*tokens[start : start + TOKENS_PER_LAYER]) for start in starts)
        return cls(layers, width, vocabulary, encoder)

    @property
    def tokens(self) -> tuple[int, ...]:
        """All tokens in one flat tuple, in the order in which the controller emits them."""
        tokens = tuple(token for layer in self.layers for token in layer)
        if self.encoder is None:
            return tokens
        return self.vocabulary.encoder_stages.index(self.encoder), *tokens

    @property
    def _sources(self) -> frozenset[int]:
        return frozenset(source for layer in self.layers for source in (layer.input1, layer.input2))

    @property
    def reads(self) -> frozenset[int]:
        """Ids of those inputs of the cell that at least one layer reads."""
        return self._sources & frozenset(range(len(self.vocabulary.inputs)))

    @property
    def outputs(self) -> tuple[int, ...]:
        """Indices of the layers that no other layer reads, ascending; the cell concatenates their results."""
        sources = self._sources
        return tuple(index for index in range(len(self.layers)) if len(self.vocabulary.inputs) + index not in sources)

    @cached_property
    def key(self) -> str:
        """An identifier that is equal exactly for genotypes of the same network; it is a valid file name.

        That the paper's layouts are among those of other vocabularies, too, is not noticed: keys of different
        vocabularies differ.
        """
        layers = canonical_layers(self.layers, self.vocabulary)
        prefix = [] if self.vocabulary == PAPER else [self.vocabulary.name]
        return "_".join([*prefix, str(self.width), *(".".join(map(str, layer)) for layer in layers)])

    def expression(self) -> str:
        """Returns one line such as ``a = cat(sep3(prev_dec), l2); b = attend(deform(a), gap(l4)); out = b``."""
        vocabulary = self.vocabulary
        names = [*vocabulary.input_symbols, *(chr(ord("a") + index) for index in range(len(self.layers)))]
        own = names[len(vocabulary.inputs) :]

        def side(source: int, op: int) -> str:
            symbol = vocabulary.operation_symbols[op]
            return f"{symbol}({names[source]})" if symbol else names[source]

        lines = [
            f"{own[index]} = {vocabulary.aggregation_symbols[layer.aggregation]}"
            f"({side(layer.input1, layer.op1)}, {side(layer.input2, layer.op2)})"
            for index, layer in enumerate(self.layers)
        ]
        outputs = ", ".join(own[index] for index in self.outputs)
        return "; ".join([*lines, f"out = {outputs}"])

    def to_dict(self) -> dict[str, object]:
        """Returns plain data: the format version, the width, and one list of five tokens per layer.

        Cells of another vocabulary than the paper's carry its name and the encoder stages, too.
        """
        own = {} if self.vocabulary == PAPER else {"space": self.vocabulary.name, "encoder": self.encoder}
        return {"format": FORMAT, **own, "width": self.width, "layers": [list(layer) for layer in self.layers]}

    @classmethod
    def from_dict(cls, data: object) -> Self:
        """Returns the genotype that `to_dict` made ``data`` from.

        Raises:
            ValueError: The data have another schema or format version, or describe an invalid cell.
        """
        expected = ["format", "layers", "width"]
        if isinstance(data, dict) and "space" in data:
            expected = ["encoder", "format", "layers", "space", "width"]
        if not isinstance(data, dict) or sorted(map(str, data)) != expected:
            found = brief(sorted(map(str, data))) if isinstance(data, dict) else type(data).__name__
            raise ValueError(f"genotype: found {found}, expected an object with the keys {expected}")
        if type(data["format"]) is not int or data["format"] != FORMAT:
            raise ValueError(f"format: found {brief(data['format'])}, expected {FORMAT}")
        others = [name for name in VOCABULARIES if name != PAPER.name]  # the paper's cells have no such key
        if "space" in data and data["space"] not in others:
            raise ValueError(f"space: found {brief(data['space'])}, expected {' or '.join(others)}")
        if not isinstance(data["layers"], list):
            raise ValueError(f"layers: found {type(data['layers']).__name__}, expected a list")
        for index, layer in enumerate(data["layers"]):
            if not isinstance(layer, list) or len(layer) != TOKENS_PER_LAYER:
                raise ValueError(f"layer {index}: found {brief(layer)}, expected a list of {TOKENS_PER_LAYER} integers")
        vocabulary = VOCABULARIES[data["space"]] if "space" in data else PAPER
        return cls(tuple(Layer(*layer) for layer in data["layers"]), data["width"], vocabulary, data.get("encoder"))

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
