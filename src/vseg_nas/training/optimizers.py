"""Several optimisers that step as one, for networks whose parts are trained in different ways (section 4.2)."""

from collections.abc import Callable
from typing import Any

from torch.optim import Optimizer


class JointOptimizer(Optimizer):
    """Steps, schedules and checkpoints several optimisers together.

    Lightning's automatic optimisation takes one optimiser. The parameter groups of this one are those of all its
    optimisers, in order, so a schedule scales all their learning rates.

    Args:
        *optimizers: The optimisers, whose parameters are disjoint.
    """

    def __init__(self, *optimizers: Optimizer) -> None:
        self.optimizers = optimizers
        super().__init__([group for optimizer in optimizers for group in optimizer.param_groups], {})

    def step(self, closure: Callable[[], float] | None = None) -> float | None:  # type: ignore[override]
        """Makes one step of each optimiser; the closure is evaluated once."""
        loss = closure() if closure is not None else None
        for optimizer in self.optimizers:
            optimizer.step()
        return loss

    def state_dict(self) -> dict[str, Any]:
        """Returns the states of all optimisers."""
        return {"optimizers": [optimizer.state_dict() for optimizer in self.optimizers]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restores what `state_dict` returned."""
        for optimizer, state in zip(self.optimizers, state_dict["optimizers"], strict=True):
            optimizer.load_state_dict(state)
        self.param_groups = [group for optimizer in self.optimizers for group in optimizer.param_groups]
