import random

import pytest

from vseg_nas.figures.pareto import pareto_front


def dominates(a: tuple[float, float], b: tuple[float, float]) -> bool:
    return a[0] <= b[0] and a[1] >= b[1] and a != b


@pytest.mark.parametrize("seed", range(20))
def test_against_brute_force(seed: int) -> None:
    rng = random.Random(seed)
    points = [(float(rng.randrange(8)), float(rng.randrange(8))) for _ in range(rng.randrange(1, 40))]  # with ties
    front = pareto_front(points)
    assert sorted(front) == [i for i, p in enumerate(points) if not any(dominates(q, p) for q in points)]
    assert [points[i][0] for i in front] == sorted(points[i][0] for i in front)


def test_by_hand() -> None:
    assert pareto_front([]) == []
    assert pareto_front([(3, 5), (1, 1), (2, 5), (2, 4), (4, 6)]) == [1, 2, 4]
