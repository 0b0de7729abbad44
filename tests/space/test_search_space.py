import random
from collections import Counter

import pytest

from vseg_nas.space.search_space import SearchSpace
from vseg_nas.space.vocabulary import (
    AGGREGATION_SYMBOLS,
    AGGREGATIONS,
    INPUT_SYMBOLS,
    INPUTS,
    OPERATION_SYMBOLS,
    OPERATIONS,
)


@pytest.mark.parametrize(
    ("layers", "cardinality"),
    [(1, 25 * 216), (4, (5 * 6 * 7 * 8) ** 2 * 216**4), (5, (5 * 6 * 7 * 8 * 9) ** 2 * 216**5)],
)
def test_cardinality_is_the_closed_form(layers: int, cardinality: int) -> None:
    assert SearchSpace(layers).cardinality == cardinality


def test_the_papers_spaces_have_the_known_sizes() -> None:
    assert f"{SearchSpace(5).cardinality:.2e}" == "1.07e+20"
    assert f"{SearchSpace(4).cardinality:.1e}" == "6.1e+15"


def test_token_sizes_grow_with_the_pool() -> None:
    space = SearchSpace(3)
    assert space.token_sizes == (5, 5, 6, 6, 6, 6, 6, 6, 6, 6, 7, 7, 6, 6, 6)
    assert space.num_tokens == 15


def test_samples_are_uniform_per_token() -> None:
    space, rng, draws = SearchSpace(2), random.Random(0), 6000
    columns = zip(*(space.sample(rng).tokens for _ in range(draws)), strict=True)
    for size, column in zip(space.token_sizes, columns, strict=True):
        counts = Counter(column)
        expected = draws / size
        chi2 = sum((counts[token] - expected) ** 2 / expected for token in range(size))
        assert set(counts) == set(range(size))
        assert chi2 < 22  # 99.9 % quantile of chi-squared is 18.5 and 20.5 at 4 and 5 degrees of freedom


def test_a_genotype_carries_the_width_of_its_space() -> None:
    assert SearchSpace(1, "native").genotype([0] * 5).width == "native"
    assert SearchSpace(1, 96).sample(random.Random(0)).width == 96


def test_wrong_sizes_are_refused() -> None:
    with pytest.raises(ValueError, match="found 5, expected 10 for 2 layers"):
        SearchSpace(2).genotype([0] * 5)
    for layers in (0, 11, True, 2.0):
        with pytest.raises(ValueError, match="layers: found"):
            SearchSpace(layers)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="width: found"):
        SearchSpace(5, "wide")  # type: ignore[arg-type]


def test_every_word_has_one_symbol() -> None:
    for words, symbols in (
        (INPUTS, INPUT_SYMBOLS),
        (OPERATIONS, OPERATION_SYMBOLS),
        (AGGREGATIONS, AGGREGATION_SYMBOLS),
    ):
        assert len(words) == len(set(symbols)) == len(symbols)
