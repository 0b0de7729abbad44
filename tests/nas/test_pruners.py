import random

import pytest

from vseg_nas.errors import ConfigError
from vseg_nas.nas.pruners import HalfwayPruner, MedianPruner, Pruner, build_pruner
from vseg_nas.nas.seeds import derive_seed
from vseg_nas.nas.settings import HalfwaySettings, MedianSettings, NoPruningSettings, PrunerSettings
from vseg_nas.settings import Settings, validated


def ask(rule: Pruner, score: float) -> bool:
    """What becomes of a cell; the rule learns its score, but not before it has answered."""
    before = repr(rule.state_dict())
    kept = not rule.should_prune(score)
    assert repr(rule.state_dict()) == before
    rule.report(score)
    return kept


def uniforms(seed: int) -> random.Random:
    return random.Random(derive_seed(seed, "halfway"))


def test_halfway_by_hand() -> None:
    # Averages: .25, .5, .3, .55, .3; the scores above them are kept without a draw.
    rule = HalfwayPruner(0, initial_average=0.0, decay=0.5, initial_delta=0.9)
    draws = uniforms(0)
    below = [score > 0.3 * (1 - draws.uniform(0, 0.9)) for score in (0.1, 0.05)]
    assert [ask(rule, score) for score in (0.5, 0.75, 0.1, 0.8, 0.05)] == [
        True,
        True,
        below[0],
        True,
        below[1],
    ]
    assert rule.state_dict()["average"] == pytest.approx(0.3)


def test_halfway_gives_a_score_below_the_average_the_right_chance() -> None:
    # Kept if u > 1 - s / m, u from U(0, .9): with s / m = .55 that is half of the time.
    kept = 0
    for seed in range(2000):
        rule = HalfwayPruner(seed, initial_average=1.0, decay=1.0)
        kept += ask(rule, 0.55)
    assert kept == pytest.approx(1000, abs=90)  # four standard deviations


@pytest.mark.parametrize("score", [0.9, 0.0])
def test_halfway_shrinks_its_tolerance_at_the_stated_counts_whatever_the_scores(score: float) -> None:
    rule = HalfwayPruner(0)
    deltas = []
    for _ in range(500):
        ask(rule, score)
        deltas.append(rule.state_dict()["delta"])
    changes = [0.9, 0.81, 0.648, 0.4536, 0.27216]
    assert deltas == [pytest.approx(changes[n // 100]) for n in range(500)]


def test_halfway_hardly_stops_at_first_and_then_stops_the_poor() -> None:
    rule = HalfwayPruner(0)
    kept = [ask(rule, 0.5) for _ in range(500)]
    assert all(kept)  # the average of equal scores stays below them
    assert not any(ask(rule, 0.05) for _ in range(20))


def test_median_by_hand() -> None:
    rule = MedianPruner(warm_up=2)
    # Medians of those before: -, -, .375, .375, .3125, .3
    scores = [0.5, 0.25, 0.375, 0.125, 0.3, 0.6]
    assert [ask(rule, score) for score in scores] == [True, True, True, False, False, True]


def test_median_needs_something_to_compare_with() -> None:
    with pytest.raises(ValueError, match="warm_up"):
        MedianPruner(warm_up=0)


@pytest.mark.parametrize("settings", [HalfwaySettings(), MedianSettings(), NoPruningSettings()])
def test_every_rule_continues_from_its_state(settings: PrunerSettings) -> None:
    scores = random.Random(7)

    def life(rule: Pruner, values: list[float]) -> list[bool]:
        return [ask(rule, value) for value in values]

    rule = build_pruner(settings, 3)
    life(rule, [scores.random() for _ in range(150)])
    resumed = build_pruner(settings, 4)
    resumed.load_state_dict(rule.state_dict())
    future = [scores.random() for _ in range(100)]
    answers = life(rule, future)
    assert life(resumed, future) == answers
    assert all(answers) == (settings.name == "none")


def deltas(scores: list[float], reference: bool) -> float:
    rule = build_pruner(HalfwaySettings(reference=reference), 0)
    for score in scores:
        rule.report(score)
    return float(rule.state_dict()["delta"])


def test_the_authors_count_takes_a_cell_above_the_average_twice() -> None:
    """Good cells alone reach every count in half the time; a single poor one before makes it miss all of them."""
    good, poor = [0.5] * 500, [0.0] * 500
    assert deltas(good, reference=True) == pytest.approx(0.9 * 0.9 * 0.8 * 0.7 * 0.6)
    assert deltas(good[:201], reference=True) == pytest.approx(0.9 * 0.9 * 0.8 * 0.7 * 0.6)
    assert deltas([0.0, *good], reference=True) == pytest.approx(0.9)
    assert deltas(good[:201], reference=False) == pytest.approx(0.9 * 0.9 * 0.8)
    assert deltas(poor[:401], reference=True) == deltas(poor[:401], reference=False)


@pytest.mark.parametrize("settings", [MedianSettings, NoPruningSettings])
def test_other_rules_have_no_other_form(settings: type[Settings]) -> None:
    with pytest.raises(ConfigError, match=r"^reference: no such key$"):
        validated(settings, {"reference": True})
