"""What proposes cells: the interface that the search loop drives, and the choice of one by name."""

from collections.abc import Sequence
from typing import Any, Protocol

from vseg_nas.nas.strategies.settings import PPOSettings, ReinforceSettings, StrategySettings
from vseg_nas.nas.trial import Trial
from vseg_nas.space import Genotype, SearchSpace


class Strategy(Protocol):
    """Proposes cells and learns from their scores; what it proposes is a function of its seed and of what it is told.

    Every cell that was asked for is told once, in any order, also if its trial has no reward: nothing is learnt then.
    """

    def ask(self, n: int) -> list[Genotype]:
        """Returns the next `n` cells to evaluate."""
        ...

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learns from trials that have ended."""
        ...

    def diagnostics(self) -> dict[str, float]:
        """Figures of the last update of the controller, by name; empty before the first."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Returns all that later proposals depend on, as tensors and plain data that load with `weights_only=True`."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Makes later proposals those of the strategy that `state` was taken from."""
        ...


def build_strategy(settings: StrategySettings, space: SearchSpace, seed: int) -> Strategy:
    """Returns the strategy that the settings describe."""
    from vseg_nas.nas.strategies.ppo import PPO
    from vseg_nas.nas.strategies.random import RandomSearch
    from vseg_nas.nas.strategies.reinforce import Reinforce

    match settings:
        case PPOSettings():
            return PPO(space, seed, settings)
        case ReinforceSettings():
            return Reinforce(space, seed, settings)
        case _:
            return RandomSearch(space, seed)
