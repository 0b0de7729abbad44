import random
from collections.abc import Callable

import numpy as np
import pytest

from tests.builders import scored
from vseg_nas.nas.history import Outcome, best_cells, outcome_counts, running_mean, token_shares, uniform_shares
from vseg_nas.nas.trial import Trial, TrialState
from vseg_nas.space import Genotype, Layer, SearchSpace
from vseg_nas.space.vocabulary import PAPER, STREAMING, Vocabulary
from vseg_nas.tracking.wandb_logger import candidate_metrics

CELL = Genotype((Layer(0, 1, 0, 5, 1), Layer(5, 4, 2, 2, 5)))
SWAPPED = Genotype((Layer(1, 0, 5, 0, 1), Layer(5, 4, 2, 2, 5)))  # concat is symmetric: the same network
OTHER = Genotype((Layer(0, 1, 0, 5, 2), Layer(5, 4, 2, 2, 5)))


def test_best_cells_are_different_networks_the_earlier_first_among_equals() -> None:
    trials = [
        scored(SWAPPED, 0.5, 0),
        scored(OTHER, 0.7, 1),
        scored(CELL, 0.7, 2),
        scored(OTHER, 0.8, 3),
        scored(CELL, 0.7, 4),
    ]
    assert [cell.trial.id for cell in best_cells(trials, 10)] == [3, 2]
    assert [cell.trial.id for cell in best_cells(trials, 1)] == [3]


def test_a_failure_is_no_score_even_when_the_strategy_is_given_one() -> None:
    failed = Trial(1, OTHER, 1, TrialState.RUNNING).failed("broken", reward=0.9)
    assert failed.reward == 0.9
    assert [cell.trial.id for cell in best_cells([scored(CELL, 0.1, 0), failed], 5)] == [0]


def test_outcomes_count_every_ended_trial_once(make_trials: Callable[[int], list[Trial]]) -> None:
    trials = make_trials(30)
    running = Trial(30, CELL, 0, TrialState.RUNNING)
    counts = outcome_counts([*trials, running])
    assert sum(counts.values()) == 30
    assert counts[Outcome.FAILED] == 3
    assert counts[Outcome.REUSED] == 4  # ids 6, 13, 20, 27


@pytest.mark.parametrize("window", [1, 3, 10])
def test_running_mean_against_numpy(window: int) -> None:
    values = np.random.default_rng(0).random(25)
    expected = [values[max(0, i - window + 1) : i + 1].mean() for i in range(25)]
    np.testing.assert_allclose(running_mean(list(values), window), expected)


def test_token_shares_of_a_cell_counted_by_hand() -> None:
    shares = token_shares([CELL])
    assert list(shares.operations) == [1 / 4, 0, 2 / 4, 0, 0, 1 / 4]
    assert list(shares.aggregations) == [0, 1 / 2, 0, 0, 0, 1 / 2]
    assert list(shares.inputs) == [1 / 4, 1 / 4, 0, 0, 1 / 4, 1 / 4]  # the last: layer 0, read by layer 1


@pytest.mark.parametrize("vocabulary", [PAPER, STREAMING], ids=["paper", "streaming"])
def test_uniform_shares_are_those_of_uniformly_drawn_cells(vocabulary: Vocabulary) -> None:
    space, rng = SearchSpace(4, 64, vocabulary), random.Random(0)
    drawn = token_shares([space.sample(rng) for _ in range(4000)])
    expected = uniform_shares(4, vocabulary)
    np.testing.assert_allclose(drawn.inputs, expected.inputs, atol=0.01)
    np.testing.assert_allclose(drawn.operations, expected.operations, atol=0.01)
    np.testing.assert_allclose(drawn.aggregations, expected.aggregations, atol=0.01)


def test_candidate_metrics_by_hand() -> None:
    history = [scored(CELL, 0.2, 0), scored(OTHER, 0.6, 1), scored(CELL, 0.4, 2)]
    metrics = candidate_metrics(history, window=2)
    assert metrics["reward"] == 0.4
    assert metrics["best"] == 0.6
    assert metrics["mean"] == pytest.approx(0.5)
    assert metrics["parameters"] == 1000
    assert metrics["trials/complete"] == 3
    assert metrics["aggregation/concat"] == 1 / 4  # of the four aggregations in OTHER and CELL
    assert metrics["input/earlier_layer"] == 1 / 4


def test_a_failed_candidate_has_no_reward_and_leaves_best_and_mean() -> None:
    metrics = candidate_metrics([scored(CELL, 0.2, 0), scored(OTHER, None, 1)], window=2)
    assert "reward" not in metrics
    assert "miou" not in metrics
    assert (metrics["best"], metrics["mean"], metrics["trials/failed"]) == (0.2, 0.2, 1)
    assert "best" not in candidate_metrics([scored(CELL, None, 0)], window=2)
