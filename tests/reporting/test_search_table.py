from typing import Any

import pytest

from tests.builders import scored
from vseg_nas.nas.trial import Trial, TrialState
from vseg_nas.reporting.search_tables import SearchGroup, last_quarter, search_table
from vseg_nas.results.numbers import Number
from vseg_nas.space import Genotype, Layer

CELL = Genotype((Layer(0, 1, 0, 5, 1),))
STOPPED = "stopped"
GROUP = SearchGroup("ppo", "CamVid", "epochs 5", (0, 1))


def search(*scores: float | str | None) -> list[Trial]:
    """Complete candidates with these scores; None failed, and `STOPPED` has a score of 0.9 half-way."""
    return [
        scored(CELL, 0.9, i, stopped=True) if isinstance(score, str) else scored(CELL, score, i)
        for i, score in enumerate(scores)
    ]


def numbers(*searches: list[Trial]) -> list[Any]:
    """Best, mean, mean of the last quarter, stopped and failed: value and deviation."""
    (row,) = search_table([(GROUP, searches)]).rows
    return [(cell.value, cell.std) if isinstance(cell, Number) else None for cell in row[5:]]


def test_a_group_by_hand() -> None:
    running = Trial(8, CELL, seed=8, state=TrialState.RUNNING)
    first = [*search(0.1, 0.2, None, 0.3, 0.4, None, 0.5, 0.7), running]
    second = search(0.2, 0.2, 0.2, 0.6)
    table = search_table([(GROUP, [first, second])])
    assert [str(cell) for cell in table.rows[0][:5]] == ["ppo", "CamVid", "epochs 5", "2", "4\N{EN DASH}8"]
    best, mean, last, stopped, failed = numbers(first, second)
    assert best == pytest.approx((0.65, 0.1 / 2**0.5))  # 0.7 and 0.6
    assert mean == pytest.approx((1.0 / 3, (2.2 / 6 - 0.3) / 2**0.5))  # 2.2 / 6 and 1.2 / 4
    assert last == pytest.approx((0.6, 0))  # 0.5 and 0.7, and 0.6 alone
    assert (stopped, failed) == ((0, None), (pytest.approx(100 * 2 / 12), None))


def test_only_complete_candidates_enter_the_means() -> None:
    best, mean, last, stopped, failed = numbers(search(0.2, 0.4, 0.6, STOPPED))
    assert best == (0.9, None)  # the best cell of the rest of the report
    assert mean == (pytest.approx(0.4), None)
    assert last is None
    assert (stopped, failed) == ((25, None), (0, None))


def test_a_reused_score_counts_as_often_as_its_cell_was_proposed() -> None:
    first, second, third = search(0.2, 0.8, 0.8)
    _, mean, *_ = numbers([first, second, Trial(2, CELL, 2, TrialState.RUNNING).reusing(second)])
    assert mean == numbers([first, second, third])[1]
    assert mean == (pytest.approx(0.6), None)


def test_a_search_without_a_score_has_no_number_but_counts() -> None:
    (row,) = search_table([(GROUP, [search(None, None), search(0.5)])]).rows
    assert str(row[3]) == "2"
    assert numbers(search(None, None), search(0.5))[:2] == [(0.5, None), (0.5, None)]
    assert numbers(search(None))[:3] == [None, None, None]


def test_the_last_quarter_is_never_empty() -> None:
    assert [last_quarter(n) for n in (1, 2, 4, 5, 8, 48)] == [1, 1, 1, 2, 2, 12]
