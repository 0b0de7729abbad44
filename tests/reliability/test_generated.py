"""Generated mistakes and hostile files: one line and status 2, or a success; in time, and nothing left behind.

A few of the cases run in the default suite, a row for all of them is in the table of `make reliability`. One
alone: ``pytest -m '' tests/reliability/test_generated.py -k 'the name of the case'``.
"""

import random
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.fixtures import Tally
from tests.reliability.generated_cases import BASE, SEED, Case, all_cases
from tests.reliability.generated_world import (
    ACCEPTED,
    LIMIT_S,
    LONGEST,
    contents,
    make_world,
    run_case,
    stop_before_computing,
    tidy,
)

CASES = all_cases()
SLOW_WHEN_WRONG = "FIFO"
QUICK = frozenset(
    random.Random(SEED).sample(
        [n for n, case in CASES.items() if not case.environment and SLOW_WHEN_WRONG not in n], 30
    )
)


@pytest.fixture(scope="module")
def made_world(tmp_path_factory: pytest.TempPathFactory) -> Path:
    world = tmp_path_factory.mktemp("generated") / "around" / "world"
    make_world(world)
    return world


@pytest.fixture
def world(made_world: Path, monkeypatch: pytest.MonkeyPatch, after_hydra: None) -> Iterator[Path]:
    stop_before_computing(monkeypatch)
    before = contents(made_world)
    yield made_world
    tidy(made_world, before)
    assert contents(made_world) == before


def marked(name: str) -> object:
    return pytest.param(CASES[name], id=name, marks=() if name in QUICK else pytest.mark.slow)


@pytest.mark.parametrize("case", [marked(name) for name in CASES])
def test_case(case: Case, world: Path, monkeypatch: pytest.MonkeyPatch, tally: Tally) -> None:
    case.prepare(world)
    there = contents(world)
    started = time.monotonic()
    ended = run_case(case, world, monkeypatch)
    assert time.monotonic() - started < LIMIT_S
    assert "Traceback" not in ended.out + ended.err
    assert ended.status in (0, 2, ACCEPTED)
    if ended.status == 2:
        assert case.must is not False
        line = ended.err.removesuffix("\n")
        assert line.startswith("error: ")
        assert line.isprintable(), line
        assert len(line) <= LONGEST
        assert case.named in line
        assert contents(world) == there
    else:
        assert not case.must, "accepted"
    tally("G18", "generated cases", "refused" if ended.status == 2 else "accepted")


def test_there_are_enough_of_them() -> None:
    assert len(CASES) >= 400
    assert {case.verb for case in CASES.values()} == set(BASE)
    assert sum(bool(case.environment) for case in CASES.values()) >= 20
