"""The canonical form of a cell: layouts that describe the same network get the same list of layers.

Two changes of a layout leave its network as it is, up to the order of the weights: swapping the two sides of a
symmetric aggregation, and listing the layers in another order in which every layer stands after those that it reads.
The canonical form is the lexicographically smallest of all these layouts.
"""

from collections.abc import Mapping, Sequence

from vseg_nas.space.vocabulary import Vocabulary

LayerTokens = tuple[int, int, int, int, int]


def canonical_layers(layers: Sequence[LayerTokens], vocabulary: Vocabulary) -> tuple[LayerTokens, ...]:
    """Returns the canonical form of valid ``layers``.

    The time is factorial in the number of equal layers that other layers read, and polynomial in everything else.
    """
    return _smallest_rest(layers, {source: source for source in range(len(vocabulary.inputs))}, vocabulary)


def _smallest_rest(
    layers: Sequence[LayerTokens], labels: Mapping[int, int], vocabulary: Vocabulary
) -> tuple[LayerTokens, ...]:
    """Returns the smallest form of the layers that are not in ``labels``, which maps old input ids to new ones."""
    spelled = {
        node: _spell(layer, labels, vocabulary.symmetric)
        for node, layer in enumerate(layers, len(vocabulary.inputs))
        if node not in labels and layer[0] in labels and layer[1] in labels
    }
    if not spelled:
        return ()
    smallest = min(spelled.values())
    tied = [node for node, tokens in spelled.items() if tokens == smallest]
    # Equal layers that no layer reads are interchangeable, so trying one of them is enough. Equal layers that are
    # read have to be tried one by one: which of them comes first decides the tokens of their readers.
    read = {source for layer in layers for source in layer[:2]}
    branches = [node for node in tied if node in read] + [node for node in tied if node not in read][:1]
    rests = (_smallest_rest(layers, {**labels, node: len(labels)}, vocabulary) for node in branches)
    return (smallest, *min(rests))


def _spell(layer: LayerTokens, labels: Mapping[int, int], symmetric: frozenset[int]) -> LayerTokens:
    """Returns the tokens of a layer with relabelled inputs, and its sides in the smaller order if they may swap."""
    input1, input2, op1, op2, aggregation = layer
    input1, input2 = labels[input1], labels[input2]
    tokens = (input1, input2, op1, op2, aggregation)
    if aggregation in symmetric:
        return min(tokens, (input2, input1, op2, op1, aggregation))
    return tokens
