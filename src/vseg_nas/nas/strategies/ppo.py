"""Proximal policy optimization of the controller, the way the authors run it (section 4.1, [23])."""

from collections import deque
from typing import Any, NamedTuple

import torch
from torch import Tensor

from vseg_nas.nas.strategies.policy_gradient import PolicyGradient, Rollout
from vseg_nas.nas.strategies.settings import PPOSettings
from vseg_nas.space import SearchSpace

_DEFAULTS = PPOSettings()


class PPOLoss(NamedTuple):
    """Scalars: the loss to minimise and two diagnostics of how far the policy has moved."""

    pg_loss: Tensor
    approx_kl: Tensor
    clipfrac: Tensor


def ppo_loss(log_prob: Tensor, old_log_prob: Tensor, advantage: Tensor, clip: float) -> PPOLoss:
    """Returns the clipped surrogate: mean of max(-A r, -A clamp(r, 1 - clip, 1 + clip)) with r = pi / pi_old.

    The larger of the two losses is the pessimistic one for either sign of the advantage.

    Args:
        log_prob: (N,) log-probability of each string under the policy being trained, in nats.
        old_log_prob: (N,) log-probability of each string when it was sampled, in nats.
        advantage: (N,) reward of each string above the baseline, A.
        clip: The distance of the ratio r from 1 beyond which the gradient vanishes.

    Raises:
        ValueError: The shapes differ; they would broadcast to (N, N).
    """
    if not log_prob.shape == old_log_prob.shape == advantage.shape:
        shapes = ", ".join(str(tuple(x.shape)) for x in (log_prob, old_log_prob, advantage))
        raise ValueError(f"log_prob, old_log_prob and advantage differ in shape: {shapes}")
    logratio = log_prob - old_log_prob
    ratio = logratio.exp()
    pg_loss = torch.max(-advantage * ratio, -advantage * ratio.clamp(1 - clip, 1 + clip)).mean()
    with torch.no_grad():
        approx_kl = (ratio - 1 - logratio).mean()
        clipfrac = ((ratio - 1).abs() > clip).float().mean()
    return PPOLoss(pg_loss, approx_kl, clipfrac)


class PPO(PolicyGradient):
    """Keeps the last token strings and their rewards, and after every reward trains on all of them once.

    Every advantage is measured from the current baseline, so those of the whole buffer change with each reward.

    The authors' buffer is full from the start, of empty rows: tokens, log-probability and reward are 0. Where no reward
    is negative their gradient is zero, since the ratio is nearly so and the clip holds. But Adam steps on them, too,
    and shares of its second moment with them: while few rows are filled, a step on one of those is larger. By default
    only filled rows are used; early on the policy moves more slowly then (`benchmarks/early_steps.py`).

    Args:
        space: Search space.
        seed: Seed of the initial policy and of everything drawn later.
        settings: Settings of PPO.
    """

    def __init__(
        self,
        space: SearchSpace,
        seed: int,
        settings: PPOSettings = _DEFAULTS,
    ) -> None:
        super().__init__(space, seed, settings)
        self._clip = settings.clip
        self._minibatch_size = settings.minibatch_size
        zeros = list[int]()  # or, where 0 is not allowed, the first value that is
        for _ in range(space.num_tokens):
            zeros.append(space.allowed(zeros)[0])
        empty = Rollout(tuple(zeros), 0.0), 0.0
        size = settings.buffer_size
        self._buffer: deque[tuple[Rollout, float]] = deque([empty] * size * settings.reference, maxlen=size)

    def state_dict(self) -> dict[str, Any]:
        """Returns the state of `PolicyGradient`, and the buffer."""
        rows = [(tuple(rollout), reward) for rollout, reward in self._buffer]
        return super().state_dict() | {"buffer": rows}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restores what `state_dict` has returned."""
        super().load_state_dict(state)
        self._buffer.clear()
        self._buffer.extend((Rollout(*rollout), reward) for rollout, reward in state["buffer"])

    def _learn(self, rollout: Rollout, reward: float, baseline: float) -> dict[str, float]:
        self._buffer.append((rollout, reward))
        rollouts, rewards = zip(*self._buffer, strict=True)
        tokens = torch.tensor([row.tokens for row in rollouts])
        old_log_prob = torch.tensor([row.log_prob for row in rollouts])
        advantage = torch.tensor([row - baseline for row in rewards])
        steps = []
        order = torch.randperm(len(tokens), generator=self._generator)
        for rows in torch.split(order, self._minibatch_size):
            steps.append(self._step(tokens[rows], old_log_prob[rows], advantage[rows]))
        names = (*PPOLoss._fields, "entropy", "grad_norm")
        return dict(zip(names, torch.tensor(steps).mean(0).tolist(), strict=True))

    def _step(self, tokens: Tensor, old_log_prob: Tensor, advantage: Tensor) -> tuple[float, ...]:
        output = self.policy(tokens)
        loss = ppo_loss(output.log_prob, old_log_prob, advantage, self._clip)
        entropy = output.entropy.mean()
        grad_norm = self._descend(loss.pg_loss - self._entropy_coef * entropy)
        return (*(figure.item() for figure in loss), entropy.item(), grad_norm.item())
