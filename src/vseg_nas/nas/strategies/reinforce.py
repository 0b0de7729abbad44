"""REINFORCE with a moving-average baseline, the authors' alternative to PPO."""

import torch
from torch import Tensor

from vseg_nas.nas.strategies.policy_gradient import PolicyGradient, Rollout


def reinforce_loss(log_prob: Tensor, advantage: Tensor) -> Tensor:
    """Returns the loss -mean(A log pi) of N token strings.

    Args:
        log_prob: (N,) log-probability of each string, log pi, in nats.
        advantage: (N,) reward of each string above the baseline, A.

    Raises:
        ValueError: The shapes differ; they would broadcast to (N, N).
    """
    if log_prob.shape != advantage.shape:
        raise ValueError(f"log_prob {tuple(log_prob.shape)} and advantage {tuple(advantage.shape)} differ")
    return -(advantage * log_prob).mean()


class Reinforce(PolicyGradient):
    """Takes one gradient step on each token string, as soon as its reward is known."""

    def _learn(self, rollout: Rollout, reward: float, baseline: float) -> dict[str, float]:
        output = self.policy(torch.tensor([rollout.tokens]))
        pg_loss = reinforce_loss(output.log_prob, torch.tensor([reward - baseline]))
        entropy = output.entropy.mean()
        grad_norm = self._descend(pg_loss - self._entropy_coef * entropy)
        return {"pg_loss": pg_loss.item(), "entropy": entropy.item(), "grad_norm": grad_norm.item()}
