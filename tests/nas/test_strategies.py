import dataclasses
import io
import math
from typing import Any

import pytest
import torch

from tests.builders import scored
from vseg_nas.nas.strategies.base import Strategy, build_strategy
from vseg_nas.nas.strategies.policy_gradient import PolicyGradient
from vseg_nas.nas.strategies.settings import PPOSettings, RandomSettings, ReinforceSettings, StrategySettings
from vseg_nas.nas.trial import Trial, TrialState
from vseg_nas.space import Genotype, SearchSpace
from vseg_nas.space.vocabulary import STREAMING

SPACE = SearchSpace(2, width=32)
SPACES = (SPACE, SearchSpace(2, 32, STREAMING))
STRATEGIES: list[StrategySettings] = [
    RandomSettings(),
    ReinforceSettings(),
    PPOSettings(),
    PPOSettings(feedback="token", minibatch_size=4, entropy_coef=0.01, buffer_size=3),
]
LEARNING: list[StrategySettings] = [PPOSettings(), ReinforceSettings()]


def failed(genotype: Genotype) -> Trial:
    return Trial(0, genotype, 0, TrialState.RUNNING).failed("oom: too big")


def through_disk(state: dict[str, Any]) -> dict[str, Any]:
    buffer = io.BytesIO()
    torch.save(state, buffer)
    buffer.seek(0)
    loaded: dict[str, Any] = torch.load(buffer, weights_only=True)
    return loaded


def live(strategy: Strategy) -> None:
    """Some life: several cells in flight, told in another order than asked for, one of them failed."""
    for start in range(2):
        cells = strategy.ask(3)
        strategy.tell([scored(cells[2], 0.1 + 0.3 * start), failed(cells[0])])
        strategy.tell([scored(cells[1], 0.5)])


def futures(strategy: Strategy, waiting: Genotype) -> list[Genotype]:
    strategy.tell([scored(waiting, 0.9)])
    cells = strategy.ask(2)
    strategy.tell([scored(cell, 0.2) for cell in cells])
    return cells + strategy.ask(5)


@pytest.mark.parametrize("space", SPACES, ids=["paper", "streaming"])
@pytest.mark.parametrize("settings", STRATEGIES)
class TestEveryStrategy:
    def test_asks_for_cells_of_its_space(self, settings: StrategySettings, space: SearchSpace) -> None:
        cells = build_strategy(settings, space, 0).ask(20)
        assert len({cell.tokens for cell in cells}) > 10
        assert all(len(cell.layers) == 2 and cell.width == 32 for cell in cells)
        assert all(space.genotype(cell.tokens) == cell for cell in cells)

    def test_is_a_function_of_its_seed(self, settings: StrategySettings, space: SearchSpace) -> None:
        before = torch.get_rng_state()
        one, same, other = (build_strategy(settings, space, seed).ask(5) for seed in (1, 1, 2))
        assert one == same != other
        assert torch.equal(before, torch.get_rng_state())

    def test_continues_from_its_state_as_if_never_interrupted(
        self, settings: StrategySettings, space: SearchSpace
    ) -> None:
        strategy = build_strategy(settings, space, 0)
        live(strategy)
        (waiting,) = strategy.ask(1)
        state = through_disk(strategy.state_dict())
        resumed = build_strategy(settings, space, 99)
        resumed.load_state_dict(state)
        assert futures(resumed, waiting) == futures(strategy, waiting)
        assert resumed.diagnostics() == strategy.diagnostics()

    def test_failures_teach_nothing_unless_they_have_a_reward(
        self, settings: StrategySettings, space: SearchSpace
    ) -> None:
        strategy = build_strategy(settings, space, 0)
        live(strategy)
        before = strategy.diagnostics()
        cells = strategy.ask(2)
        strategy.tell([failed(cells[0])])
        assert strategy.diagnostics() == before
        strategy.tell([dataclasses.replace(failed(cells[1]), failed_reward=0.0)])
        assert (strategy.diagnostics() == before) == (settings.name == "random")


@pytest.mark.parametrize("settings", LEARNING)
def test_an_abandoned_trial_is_forgotten(settings: StrategySettings) -> None:
    """As if it had never been asked for, but for the random numbers its cell was drawn with."""
    strategy = build_strategy(settings, SPACE, 0)
    live(strategy)
    before = strategy.state_dict()
    (cell,) = strategy.ask(1)
    strategy.tell([Trial(0, cell, 0, TrialState.RUNNING).abandoned("three kills")])
    after = strategy.state_dict()
    assert after.pop("generator").tolist() != before.pop("generator").tolist()
    assert repr(after) == repr(before)


@pytest.mark.parametrize("space", SPACES, ids=["paper", "streaming"])
def test_a_buffer_of_empty_rows_teaches_finite_numbers(space: SearchSpace) -> None:
    strategy = build_strategy(PPOSettings(reference=True, buffer_size=4), space, 0)
    for score in (0.5, 0.2, 0.9):
        (cell,) = strategy.ask(1)
        strategy.tell([scored(cell, score)])
    assert all(math.isfinite(figure) for figure in strategy.diagnostics().values())
    assert abs(strategy.diagnostics()["approx_kl"]) < 1e4  # the empty rows are strings of the space


@pytest.mark.parametrize("settings", LEARNING)
def test_a_cell_never_asked_for_or_told_twice_is_an_error(settings: StrategySettings) -> None:
    strategy = build_strategy(settings, SPACE, 0)
    (cell,) = strategy.ask(1)
    strategy.tell([scored(cell, 0.5)])
    with pytest.raises(ValueError, match="not asked for"):
        strategy.tell([scored(cell, 0.5)])


@pytest.mark.parametrize(
    "settings",
    [
        ReinforceSettings(baseline_decay=0.9, learning_rate=3e-3),
        PPOSettings(buffer_size=16, minibatch_size=16, learning_rate=3e-3),
    ],
)
def test_a_policy_learns_the_best_of_a_few_strings(settings: StrategySettings) -> None:
    strategy = build_strategy(settings, SearchSpace(1), 0)
    rewards = (0.1, 0.3, 0.9, 0.4, 0.2, 0.3)  # of each aggregation; the other tokens do not matter
    for _ in range(120):
        (cell,) = strategy.ask(1)
        strategy.tell([scored(cell, rewards[cell.layers[0].aggregation])])
    assert isinstance(strategy, PolicyGradient)
    drawn = [cell.layers[0].aggregation for cell in strategy.ask(200)]
    assert drawn.count(2) > 180
