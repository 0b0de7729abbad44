"""One spelling per network: cells that differ only in spelling get the same list of layers.

Two freedoms leave a network as it is, up to its weights: the sides of a symmetric aggregation may swap, and
the layers may be listed in any order that puts readers after what they read. The spelling kept is the
lexicographically smallest.
"""

from collections.abc import Mapping, Sequence

from vseg_nas.space.vocabulary import INPUTS, SYMMETRIC_AGGREGATIONS

LayerTokens = tuple[int, int, int, int, int]


def canonical_layers(layers: Sequence[LayerTokens]) -> tuple[LayerTokens, ...]:
    """The smallest spelling of valid ``layers``; time is factorial only in layers that are alike and read."""
    return _smallest_rest(layers, {source: source for source in range(len(INPUTS))})


def _smallest_rest(layers: Sequence[LayerTokens], labels: Mapping[int, int]) -> tuple[LayerTokens, ...]:
    """The smallest spelling of the layers without a label; ``labels`` maps old input ids to new ones."""
    spelled = {
        node: _spell(layer, labels)
        for node, layer in enumerate(layers, len(INPUTS))
        if node not in labels and layer[0] in labels and layer[1] in labels
    }
    if not spelled:
        return ()
    smallest = min(spelled.values())
    tied = [node for node, tokens in spelled.items() if tokens == smallest]
    # Alike and read by nobody: these are interchangeable, one stands for all.
    read = {source for layer in layers for source in layer[:2]}
    branches = [node for node in tied if node in read] + [node for node in tied if node not in read][:1]
    rests = (_smallest_rest(layers, {**labels, node: len(labels)}) for node in branches)
    return (smallest, *min(rests))


def _spell(layer: LayerTokens, labels: Mapping[int, int]) -> LayerTokens:
    input1, input2, op1, op2, aggregation = layer
    input1, input2 = labels[input1], labels[input2]
    tokens = (input1, input2, op1, op2, aggregation)
    if aggregation in SYMMETRIC_AGGREGATIONS:
        return min(tokens, (input2, input1, op2, op1, aggregation))
    return tokens
