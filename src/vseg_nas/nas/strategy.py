"""What proposes cells: the interface that the search loop drives, and the choice of one by name."""

from collections.abc import Sequence
from typing import Any, Protocol

from vseg_nas.errors import ConfigError
from vseg_nas.nas.trial import Trial
from vseg_nas.space import Genotype, SearchSpace


class Strategy(Protocol):
    """Proposes cells and learns from what became of them; a function of its seed and of what it is told.

    Every genotype asked for is told once, in any order; a trial without a reward is told too, for nothing.
    """

    def ask(self, n: int) -> list[Genotype]:
        """The next `n` cells to evaluate."""
        ...

    def tell(self, trials: Sequence[Trial]) -> None:
        """Learns from ended trials."""
        ...

    def diagnostics(self) -> dict[str, float]:
        """Figures of the last update, for curves; empty before the first."""
        ...

    def state_dict(self) -> dict[str, Any]:
        """Everything its future depends on, as tensors and plain data that load with `weights_only=True`."""
        ...

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Continues the life that `state` was taken from."""
        ...


def build_strategy(name: str, space: SearchSpace, seed: int, **options: Any) -> Strategy:
    """The strategy called `name` ("ppo", "reinforce" or "random") with its constructor's options.

    Raises:
        ConfigError: there is no such strategy.
    """
    from vseg_nas.nas.ppo import PPO
    from vseg_nas.nas.random_search import RandomSearch
    from vseg_nas.nas.reinforce import Reinforce

    strategies: dict[str, type[Strategy]] = {"ppo": PPO, "reinforce": Reinforce, "random": RandomSearch}
    if name not in strategies:
        raise ConfigError(f"strategy: found {name!r}, expected one of {', '.join(strategies)}")
    return strategies[name](space, seed, **options)  # type: ignore[call-arg]  # a Protocol has no constructor
