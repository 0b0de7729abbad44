"""What PPO and REINFORCE share: policy, optimizer, baseline, and the token strings that are being evaluated."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from vseg_nas.nas.seeds import derive_seed
from vseg_nas.nas.strategies.policy import Policy
from vseg_nas.nas.strategies.settings import PolicyGradientSettings
from vseg_nas.nas.trial import Trial
from vseg_nas.space import Genotype, SearchSpace


class Rollout(NamedTuple):
    """A sampled token string with its log-probability at that time, in nats; plain data, since it is stored."""

    tokens: tuple[int, ...]
    log_prob: float


class PolicyGradient(ABC):
    """A strategy that samples from a `Policy` and moves it after every reward.

    Args:
        space: Search space.
        seed: Seed of the initial policy and of everything drawn later.
        settings: Settings of the policy and its training.
    """

    def __init__(
        self,
        space: SearchSpace,
        seed: int,
        settings: PolicyGradientSettings,
    ) -> None:
        self.policy = Policy(space, _generator(seed, "policy"), settings.feedback)
        self._space = space
        self._generator = _generator(seed, "samples")
        self._optimizer = torch.optim.Adam(self.policy.parameters(), lr=settings.learning_rate)
        self._decay = settings.baseline_decay
        self._max_grad_norm = settings.max_grad_norm
        self._entropy_coef = settings.entropy_coef
        self._baseline: float | None = None
        self._pending: list[Rollout] = []
        self._diagnostics: dict[str, float] = {}

    def ask(self, n: int) -> list[Genotype]:
        """Samples `n` cells and remembers how likely each of them was."""
        with torch.no_grad():
            output = self.policy(n=n, generator=self._generator)
        strings = map(tuple, output.tokens.tolist())
        rollouts = list(map(Rollout, strings, output.log_prob.tolist()))
        self._pending += rollouts
        return [self._space.genotype(rollout.tokens) for rollout in rollouts]

    def tell(self, trials: Sequence[Trial]) -> None:
        """Updates the baseline, then the policy, after each trial that has a reward.

        Raises:
            ValueError: A trial's cell was never asked for, or was told before.
        """
        for trial in trials:
            rollout = self._take_pending(trial)
            if trial.reward is not None:
                self._baseline = moving_average(self._baseline, trial.reward, self._decay)
                self._diagnostics = self._learn(rollout, trial.reward, self._baseline)
                self._diagnostics["baseline"] = self._baseline

    def diagnostics(self) -> dict[str, float]:
        """The baseline, and means over the last update, such as pg_loss, entropy and grad_norm."""
        return dict(self._diagnostics)

    def state_dict(self) -> dict[str, Any]:
        """See `Strategy`."""
        return {
            "policy": self.policy.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "generator": self._generator.get_state(),
            "baseline": self._baseline,
            "pending": [tuple(rollout) for rollout in self._pending],
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` has returned."""
        self.policy.load_state_dict(state["policy"])
        self._optimizer.load_state_dict(state["optimizer"])
        self._generator.set_state(state["generator"])
        self._baseline = state["baseline"]
        self._pending = [Rollout(*rollout) for rollout in state["pending"]]

    @abstractmethod
    def _learn(self, rollout: Rollout, reward: float, baseline: float) -> dict[str, float]:
        """Trains the policy after a reward; returns the figures of the update."""

    def _take_pending(self, trial: Trial) -> Rollout:
        tokens = trial.genotype.tokens
        for index, rollout in enumerate(self._pending):
            if rollout.tokens == tokens:
                return self._pending.pop(index)
        raise ValueError(f"trial {trial.id} was not asked for, or was told before")

    def _descend(self, loss: Tensor) -> Tensor:
        """Makes one optimizer step; returns the norm of the gradient before clipping."""
        self._optimizer.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        norm = nn.utils.clip_grad_norm_(self.policy.parameters(), self._max_grad_norm)
        self._optimizer.step()
        return norm


def moving_average(average: float | None, value: float, decay: float) -> float:
    """Returns the exponential moving average; it starts at the first value, so the first advantage is 0."""
    return value if average is None else decay * average + (1 - decay) * value


def _generator(seed: int, use: str) -> torch.Generator:
    return torch.Generator().manual_seed(derive_seed(seed, use))
