"""The streaming space: what may follow what, and that its cells are told apart and stored as safely as the paper's."""

import itertools
import json
import random
from collections import defaultdict

import pytest

from tests.space.test_canonical import smallest
from vseg_nas.space import Genotype, Layer, SearchSpace
from vseg_nas.space.hand_written import HAND_WRITTEN
from vseg_nas.space.vocabulary import PAPER, STREAMING

SPACE = SearchSpace(5, 64, STREAMING)
PREV_LAYER4, PREV_DEC, LAYER2, LAYER3, LAYER4, PREV_LAYER2, DISTANCE, FIRST = range(8)
SKIP = 4
SUM, CAT, PREDICT, AFFINE, CONV3D, ATTEND, ALIGN, GATE = range(8)
CELL = Genotype((Layer(LAYER2, PREV_DEC, 4, 4, ALIGN), Layer(FIRST, DISTANCE, 0, 4, GATE)), 32, STREAMING, 2)


def is_allowed(encoder: int, index: int, layer: tuple[int, ...]) -> bool:
    """The rules once more, in the plainest form."""
    input1, input2, op1, op2, aggregation = layer
    needed = {PREV_LAYER4: 4, LAYER4: 4, LAYER3: 3}
    if any(needed.get(source, 2) > encoder or source >= FIRST + index for source in (input1, input2)):
        return False
    if input1 == DISTANCE == input2:
        return False
    if input1 == DISTANCE and (op1 != SKIP or aggregation in (CAT, AFFINE)):
        return False
    return not (input2 == DISTANCE and (op2 != SKIP or aggregation in (CAT, PREDICT, ALIGN)))


def test_the_paper_s_words_keep_their_indices() -> None:
    for field in ("inputs", "input_strides", "input_stages", "operations", "aggregations"):
        paper, ours = getattr(PAPER, field), getattr(STREAMING, field)
        assert ours[: len(paper)] == paper
        assert len(set(ours)) == len(ours) or field.startswith("input_st")
    assert STREAMING.symmetric == PAPER.symmetric
    assert STREAMING.inputs[5:] == ("prev_layer2", "distance")
    assert STREAMING.aggregations[6:] == ("align", "gated_residual")
    for words, symbols in (
        (STREAMING.inputs, STREAMING.input_symbols),
        (STREAMING.aggregations, STREAMING.aggregation_symbols),
    ):
        assert len(words) == len(set(symbols)) == len(symbols)


@pytest.mark.parametrize("index", [0, 1])
def test_choices_are_the_rules(index: int) -> None:
    for encoder in STREAMING.encoder_stages:
        found: set[tuple[int, ...]] = {()}
        for _ in range(5):
            found = {(*before, token) for before in found for token in STREAMING.choices(encoder, index, before)}
        everything = itertools.product(*map(range, STREAMING.layer_sizes(index)))
        assert found == {layer for layer in everything if is_allowed(encoder, index, layer)}


def test_the_paper_s_space_is_not_masked() -> None:
    space = SearchSpace(3)
    assert not space.is_masked
    tokens: list[int] = []
    for size in space.token_sizes:
        assert space.allowed(tokens) == tuple(range(size))
        tokens.append(size - 1)


def test_cardinality_counts_what_is_allowed() -> None:
    one = sum(
        is_allowed(encoder, 0, layer)
        for encoder in (2, 3, 4)
        for layer in itertools.product(*map(range, STREAMING.layer_sizes(0)))
    )
    assert SearchSpace(1, 64, STREAMING).cardinality == one
    assert SPACE.cardinality > SearchSpace(5).cardinality


def test_tokens_are_a_bijection() -> None:
    cells = [SPACE.sample(random.Random(seed)) for seed in range(500)]
    assert {cell.encoder for cell in cells} == {2, 3, 4}
    for cell in cells:
        assert len(cell.tokens) == SPACE.num_tokens == 26
        assert SPACE.genotype(cell.tokens) == cell
        assert Genotype.from_json(cell.to_json()) == cell
        for index, layer in enumerate(cell.layers):
            assert cell.encoder is not None
            assert is_allowed(cell.encoder, index, layer)
    assert len({cell.tokens for cell in cells}) == 500


def test_a_third_of_uniform_draws_leaves_out_layers_3_and_4() -> None:
    needs = [max(STREAMING.input_stages[source] for source in cell.reads) for cell in map(SPACE.sample, randoms(600))]
    assert sum(stages <= 2 for stages in needs) > 180
    paper = [
        max(PAPER.input_stages[source] for source in cell.reads) for cell in map(SearchSpace(5).sample, randoms(600))
    ]
    assert sum(stages <= 2 for stages in paper) < 30


def randoms(count: int) -> list[random.Random]:
    return [random.Random(seed) for seed in range(count)]


def test_keys_are_exact_on_a_small_space() -> None:
    """All cells of two layers over two inputs, one operation, a symmetric aggregation and one that is not."""
    networks = defaultdict(set)
    for one in itertools.product((PREV_DEC, LAYER2), (PREV_DEC, LAYER2), (0,), (0,), (SUM, ALIGN)):
        pool = (PREV_DEC, LAYER2, FIRST)
        for other in itertools.product(pool, pool, (0,), (0,), (SUM, ALIGN)):
            for encoder in (2, 3, 4):
                cell = Genotype((Layer(*one), Layer(*other)), 64, STREAMING, encoder)
                networks[smallest(cell)].add(cell.key)
    assert all(len(keys) == 1 for keys in networks.values())
    assert len(set.union(*networks.values())) == len(networks) < 8 * 18


def test_keys_do_not_depend_on_the_encoder_and_differ_from_the_paper_s() -> None:
    layers = (Layer(LAYER2, PREV_DEC, 0, 4, SUM), Layer(LAYER2, LAYER2, 0, 4, CAT))
    keys = {Genotype(layers, 64, STREAMING, encoder).key for encoder in (2, 3, 4)}
    assert keys == {"streaming_64_1.2.4.0.0_2.2.0.4.1"}
    assert Genotype(layers).key == "64_1.2.4.0.0_2.2.0.4.1"
    rng = random.Random(0)
    ours = {SearchSpace(1, 64, STREAMING).sample(rng).key for _ in range(300)}
    assert not ours & {SearchSpace(1).sample(rng).key for _ in range(300)}


def test_derived_facts_of_a_known_cell() -> None:
    assert CELL.tokens == (0, 2, 1, 4, 4, 6, 7, 6, 0, 4, 7)
    assert CELL.outputs == (1,)
    assert CELL.reads == {LAYER2, PREV_DEC, DISTANCE}
    assert CELL.expression() == "a = align(l2, prev_dec); b = gate(sep3(a), dist); out = b"
    assert CELL.to_dict() == {
        "format": 1,
        "space": "streaming",
        "encoder": 2,
        "width": 32,
        "layers": [[2, 1, 4, 4, 6], [7, 6, 0, 4, 7]],
    }


def test_the_hand_written_cell_reads_layer_2_and_dec() -> None:
    cell = HAND_WRITTEN["aligned_low_latency"]
    assert cell.expression() == "a = align(l2, prev_dec); b = cat(sep3(l2), a); out = b"
    assert Genotype.from_json(cell.to_json()) == cell


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"space": "paper"}, "space: found 'paper', expected streaming"),
        ({"space": ["streaming"]}, r"space: found \['streaming'\]"),
        ({"space": None}, "space: found None"),
        ({"encoder": 1}, "encoder: found 1, expected 2 or 3 or 4"),
        ({"encoder": 2.0}, "encoder: found 2.0"),
        ({"encoder": None}, "encoder: found None"),
        ({"encoder": "__import__('os')"}, "encoder: found"),
        ({"layers": [[2, 3, 0, 0, 0]]}, "layer 0, input2: found 3, expected one of 1, 2, 5, 6 after the tokens before"),
        ({"layers": [[2, 7, 0, 0, 0]]}, r"layer 0, input2: found 7, expected an integer in 0\.\.6"),
        ({"layers": [[6, 6, 4, 4, 0]]}, "layer 0, input2: found 6, expected one of 1, 2, 5 after"),
        ({"layers": [[6, 2, 0, 4, 0]]}, "layer 0, op1: found 0, expected one of 4 after"),
        ({"layers": [[2, 6, 0, 4, 6]]}, "layer 0, aggregation: found 6, expected one of 0, 3, 4, 5, 7 after"),
        ({"layers": [[2, 1, 0, 4, 8]]}, "layer 0, aggregation: found 8"),
        ({"extra": 1}, "expected an object with the keys"),
    ],
)
def test_invalid_json_is_refused_with_the_reason(changes: dict[str, object], reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        Genotype.from_json(json.dumps(CELL.to_dict() | changes))
    assert len(str(caught.value)) < 300


def test_a_cell_of_the_paper_has_no_encoder() -> None:
    with pytest.raises(ValueError, match="encoder: found 2, expected None"):
        Genotype((Layer(0, 1, 0, 0, 0),), encoder=2)
    with pytest.raises(ValueError, match="expected an object with the keys"):
        Genotype.from_json('{"format": 1, "encoder": 2, "width": 64, "layers": [[0, 1, 0, 0, 0]]}')
    for tokens in ((), (3, 1, 1, 0, 0, 0), (True, 1, 1, 0, 0, 0)):
        with pytest.raises(ValueError, match="encoder: found"):
            Genotype.from_tokens(tokens, 64, STREAMING)
