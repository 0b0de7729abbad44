"""Learning-rate schedules."""

from collections.abc import Callable
from typing import Literal

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig

Schedule = Literal["constant", "poly"]
"""Of a cell's rate: constant, as in the paper, or falling to 0, after which trainings differ less by their seed."""

POWER: dict[Schedule, float] = {"constant": 0.0, "poly": 0.9}
"""Exponent of `poly` that each schedule is."""


def poly(total_steps: int, power: float) -> Callable[[int], float]:
    """The factor (1 - step / total_steps) ** power, 0 from the last step on (paper, section 6)."""

    def factor(step: int) -> float:
        remaining = 1 - min(step, total_steps) / total_steps
        return float(remaining**power)

    return factor


def with_poly(module: pl.LightningModule, optimizer: torch.optim.Optimizer, power: float) -> OptimizerLRSchedulerConfig:
    """The optimiser with the poly schedule, per step, over the whole fit of the module."""
    steps = int(module.trainer.estimated_stepping_batches)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, poly(steps, power))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
