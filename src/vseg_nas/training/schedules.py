"""Learning-rate schedules."""

from collections.abc import Callable

import pytorch_lightning as pl
import torch
from pytorch_lightning.utilities.types import OptimizerLRSchedulerConfig

from vseg_nas.training.settings import Schedule

POWER: dict[Schedule, float] = {"constant": 0.0, "poly": 0.9}
"""The exponent of `poly` for each schedule."""


def poly(total_steps: int, power: float) -> Callable[[int], float]:
    """Returns the factor (1 - step / total_steps) ** power as a function of the step (paper, section 6).

    The factor stays at its last value, 0 for a positive power, if there are more steps.
    """

    def factor(step: int) -> float:
        remaining = 1 - min(step, total_steps) / total_steps
        return float(remaining**power)

    return factor


def with_poly(module: pl.LightningModule, optimizer: torch.optim.Optimizer, power: float) -> OptimizerLRSchedulerConfig:
    """Returns the optimiser with the poly schedule over all steps of the module's fit."""
    steps = int(module.trainer.estimated_stepping_batches)
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, poly(steps, power))
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
