"""Whole networks of random cells as ONNX, with all blocks of the encoder and the decoder."""

import random
from pathlib import Path

import pytest

from tests.graphs.exporting import check, network
from vseg_nas.space import SearchSpace


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(20))
def test_a_random_cell(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    space = SearchSpace(rng.choice((3, 4, 5)), rng.choice((32, 64)) if seed % 4 else "native")
    check(network(space.sample(rng), seed=seed), "logits", tmp_path, "onnx")
