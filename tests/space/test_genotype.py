import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from vseg_nas.space.genotype import MAX_LAYERS, Genotype, Layer
from vseg_nas.space.search_space import SearchSpace

CELL = Genotype((Layer(1, 2, 0, 4, 1), Layer(5, 4, 5, 1, 5), Layer(5, 5, 4, 3, 0)))

PROPERTY = settings(max_examples=100, deadline=None, derandomize=True, database=None)


@st.composite
def genotypes(draw: st.DrawFn) -> Genotype:
    width = draw(st.one_of(st.just("native"), st.integers(1, 1024)))
    space = SearchSpace(draw(st.integers(1, MAX_LAYERS)), width)  # type: ignore[arg-type]
    return space.genotype([draw(st.integers(0, size - 1)) for size in space.token_sizes])


@given(genotypes())
@PROPERTY
def test_every_representation_round_trips(genotype: Genotype) -> None:
    assert Genotype.from_tokens(genotype.tokens, genotype.width) == genotype
    assert Genotype.from_dict(genotype.to_dict()) == genotype
    assert Genotype.from_json(genotype.to_json()) == genotype
    assert "\n" not in genotype.to_json() + genotype.expression() + genotype.key


@given(genotypes())
@PROPERTY
def test_every_layer_is_read_or_an_output(genotype: Genotype) -> None:
    read = {index for layer in genotype.layers for index in (layer.input1 - 5, layer.input2 - 5)}
    assert set(genotype.outputs) == set(range(len(genotype.layers))) - read
    assert genotype.reads == {source + 5 for source in read if source < 0}
    assert list(genotype.outputs) == sorted(genotype.outputs)


ALPHABET = '[]{}":,.- 019eabNull\\'
VALUES = st.recursive(st.none() | st.booleans() | st.integers() | st.floats(), st.lists, max_leaves=8)
OBJECTS = st.fixed_dictionaries({"format": st.just(1), "width": VALUES, "layers": VALUES})


@given(st.text(ALPHABET, max_size=40) | VALUES.map(json.dumps) | OBJECTS.map(json.dumps))
@PROPERTY
def test_foreign_text_is_a_value_error(text: str) -> None:
    with pytest.raises(ValueError):
        Genotype.from_json(text)


def test_derived_facts_of_a_known_cell() -> None:
    assert CELL.tokens == (1, 2, 0, 4, 1, 5, 4, 5, 1, 5, 5, 5, 4, 3, 0)
    assert CELL.outputs == (1, 2)
    assert CELL.reads == {1, 2, 4}
    assert CELL.width == 64
    assert CELL.expression() == (
        "a = cat(sep3(prev_dec), l2); b = attend(deform(a), gap(l4)); c = sum(a, sep5r6(a)); out = b, c"
    )
    assert CELL.to_dict() == {
        "format": 1,
        "width": 64,
        "layers": [[1, 2, 0, 4, 1], [5, 4, 5, 1, 5], [5, 5, 4, 3, 0]],
    }


@pytest.mark.parametrize(
    ("tokens", "reason"),
    [
        ((5, 0, 0, 0, 0), r"layer 0, input1: found 5, expected an integer in 0\.\.4"),
        ((0, 0, 0, 0, 0, 0, 6, 0, 0, 0), r"layer 1, input2: found 6, expected an integer in 0\.\.5"),
        ((0, 0, 6, 0, 0), "layer 0, op1: found 6"),
        ((0, 0, 0, -1, 0), "layer 0, op2: found -1"),
        ((0, 0, 0, 0, 6), "layer 0, aggregation: found 6"),
        ((0, 0, True, 0, 0), "layer 0, op1: found True"),
        ((0, 0, 0, 1.0, 0), "layer 0, op2: found 1.0"),
        ((0, 0, 0, 0), "tokens: found 4, expected a multiple of 5"),
        ((), "layers: found 0"),
        ((0,) * 5 * (MAX_LAYERS + 1), "layers: found 11"),
    ],
)
def test_invalid_tokens_are_refused_with_the_reason(tokens: tuple[int, ...], reason: str) -> None:
    with pytest.raises(ValueError, match=reason):
        Genotype.from_tokens(tokens)


@pytest.mark.parametrize("width", [0, -1, 1025, True, 64.0, "64", None])
def test_invalid_widths_are_refused(width: object) -> None:
    with pytest.raises(ValueError, match="width: found"):
        Genotype(CELL.layers, width)  # type: ignore[arg-type]


@pytest.mark.parametrize("layers", [[Layer(0, 0, 0, 0, 0)], ((0, 0, 0, 0, 0),), "abcde"])
def test_only_a_tuple_of_layers_is_taken(layers: object) -> None:
    with pytest.raises(ValueError, match="expected a"):
        Genotype(layers)  # type: ignore[arg-type]


def _with(**changes: object) -> str:
    return json.dumps({**CELL.to_dict(), **changes})


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("{", "not JSON"),
        ("[" * 60_000, "nested too deeply"),
        (" " * 65_537, "found 65537 characters"),
        ("9" * 5_000, "whole number"),
        ("[]", "found list, expected an object"),
        (_with(format=2), "format: found 2, expected 1"),
        (_with(format=True), "format: found True"),
        (_with(extra=0), "expected an object with the keys"),
        ('{"format": 1, "width": 64, "width": 32, "layers": [[0, 0, 0, 0, 0]]}', "repeats a key"),
        ('{"format": 1, "width": NaN, "layers": [[0, 0, 0, 0, 0]]}', "found NaN"),
        (_with(layers="00000"), "layers: found str"),
        (_with(layers=["00000"]), "layer 0: found '00000'"),
        (_with(layers=[[0, 0, 0, 0]]), "layer 0: .* expected a list of 5"),
        (_with(layers=[[0, 0, 0, 0, "0"]]), "layer 0, aggregation: found '0'"),
        (_with(layers=[]), "layers: found 0"),
        (_with(width="__import__('os')"), "width: found"),
        (_with(width=[[]]), "width: found"),
    ],
)
def test_invalid_json_is_refused_with_the_reason(text: str, reason: str) -> None:
    with pytest.raises(ValueError, match=reason) as caught:
        Genotype.from_json(text)
    assert len(str(caught.value)) < 300


def test_a_sampled_cell_is_a_function_of_the_generator() -> None:
    space = SearchSpace(5)
    draws = [[space.sample(rng) for _ in range(3)] for rng in (random.Random(1), random.Random(1), random.Random(2))]
    assert draws[0] == draws[1] != draws[2]


def test_a_flipped_digit_of_a_written_file_is_noticed() -> None:
    """Each digit of the layers and of the width, changed into every other one."""
    text = CELL.to_json()
    end = text.index('"key"')
    changed = [
        text[:at] + digit + text[at + 1 :]
        for at, old in enumerate(text[:end])
        if old.isdigit()
        for digit in "0123456789"
        if digit != old
    ]
    assert len(changed) > 100
    for line in changed:
        try:
            found = Genotype.from_json(line)
        except ValueError:
            continue
        assert found.key == CELL.key  # 064 is no number of JSON; what is left are equal networks


def test_the_key_may_be_left_out() -> None:
    assert Genotype.from_json(json.dumps(CELL.to_dict())) == CELL
