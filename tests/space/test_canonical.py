"""The key against brute force: cells are one network when relabelling and swaps turn one into the other."""

import itertools
import random
import time
from collections.abc import Iterator

import pytest

from vseg_nas.space.genotype import Genotype, Layer

SYMMETRIC = {0, 1, 4}


def spellings(genotype: Genotype) -> Iterator[tuple[tuple[int, ...], ...]]:
    """Every valid spelling of the network, by trying all orders and all swaps."""
    layers, inputs = genotype.layers, len(genotype.vocabulary.inputs)
    for order in itertools.permutations(range(len(layers))):
        label = {source: source for source in range(inputs)}
        label |= {inputs + old: inputs + new for new, old in enumerate(order)}
        choices = []
        for new, old in enumerate(order):
            input1, input2, op1, op2, aggregation = layers[old]
            input1, input2 = label[input1], label[input2]
            if max(input1, input2) >= inputs + new:
                break
            sides = [(input1, input2, op1, op2, aggregation)]
            if aggregation in SYMMETRIC:
                sides.append((input2, input1, op2, op1, aggregation))
            choices.append(sides)
        else:
            yield from itertools.product(*choices)


def smallest(genotype: Genotype) -> tuple[tuple[int, ...], ...]:
    return min(spellings(genotype))


def draw(rng: random.Random, layers: int, words: int) -> Genotype:
    """A cell of few words, so that twins and near-twins are common."""
    tokens: list[int] = []
    for index in range(layers):
        pool = [*range(5 - min(words, 2), 5 + index)]
        tokens += rng.choices(pool, k=2) + rng.choices(range(words), k=2) + [rng.choice((0, 1, 2, 5)[:words])]
    return Genotype.from_tokens(tokens)


def test_the_key_is_the_smallest_spelling() -> None:
    rng = random.Random(0)
    for case in range(300):
        genotype = draw(rng, 1 + case % 5, 1 + case % 3)
        expected = "_".join(["64", *(".".join(map(str, layer)) for layer in smallest(genotype))])
        assert genotype.key == expected


def test_every_spelling_of_a_network_has_one_key() -> None:
    rng = random.Random(1)
    for case in range(60):
        genotype = draw(rng, 2 + case % 4, 1 + case % 3)
        for layers in itertools.islice(spellings(genotype), 200):
            assert Genotype(tuple(Layer(*layer) for layer in layers)).key == genotype.key


def test_different_networks_have_different_keys() -> None:
    rng = random.Random(2)
    cells = [draw(rng, 3, 2) for _ in range(400)]
    by_key = {cell.key: smallest(cell) for cell in cells}
    assert len({smallest(cell) for cell in cells}) == len(by_key)
    assert len(by_key) < len(cells)  # the draw did contain doubles
    assert all(by_key[cell.key] == smallest(cell) for cell in cells)


TWINS = (Layer(4, 4, 0, 0, 5), Layer(4, 4, 0, 0, 5))


@pytest.mark.parametrize(
    ("left", "right", "same"),
    [
        # a layer shared by two readers, and the same layer built twice, are different networks
        ((*TWINS, Layer(5, 5, 0, 0, 0)), (*TWINS, Layer(5, 6, 0, 0, 0)), False),
        # which of two twins is read does not matter
        ((*TWINS, Layer(5, 1, 0, 1, 5)), (*TWINS, Layer(6, 1, 0, 1, 5)), True),
        # twins read by different readers, readers listed the other way round
        (
            (*TWINS, Layer(5, 1, 0, 1, 5), Layer(6, 2, 0, 1, 5)),
            (*TWINS, Layer(5, 2, 0, 1, 5), Layer(6, 1, 0, 1, 5)),
            True,
        ),
        # both readers on one twin, or one each
        (
            (*TWINS, Layer(5, 1, 0, 1, 5), Layer(5, 2, 0, 1, 5)),
            (*TWINS, Layer(5, 1, 0, 1, 5), Layer(6, 2, 0, 1, 5)),
            False,
        ),
        # only the deepest reader tells the twins apart
        (
            (*TWINS, Layer(5, 3, 0, 0, 5), Layer(6, 3, 0, 0, 5), Layer(8, 0, 1, 1, 5)),
            (*TWINS, Layer(5, 3, 0, 0, 5), Layer(6, 3, 0, 0, 5), Layer(7, 0, 1, 1, 5)),
            True,
        ),
        # swapped sides: symmetric aggregations only
        ((Layer(1, 2, 0, 3, 4),), (Layer(2, 1, 3, 0, 4),), True),
        ((Layer(1, 2, 0, 3, 2),), (Layer(2, 1, 3, 0, 2),), False),
        ((Layer(1, 2, 0, 3, 4),), (Layer(2, 1, 0, 3, 4),), False),
    ],
)
def test_crafted_pairs(left: tuple[Layer, ...], right: tuple[Layer, ...], same: bool) -> None:
    assert (Genotype(left).key == Genotype(right).key) is same


def test_the_width_is_part_of_the_key() -> None:
    layers = (Layer(0, 0, 0, 0, 0),)
    assert len({Genotype(layers, width).key for width in (64, 32, "native")}) == 3


def test_the_worst_case_stays_short() -> None:
    twins = [Layer(4, 4, 0, 0, 0)] * 7
    readers = [Layer(5 + 2 * i, 6 + 2 * i, 0, 0, 0) for i in range(3)]
    start = time.process_time()
    assert Genotype((*twins, *readers)).key
    assert time.process_time() - start < 5
