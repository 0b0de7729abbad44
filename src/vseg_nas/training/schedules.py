"""Learning-rate schedules."""

from collections.abc import Callable


def poly(total_steps: int, power: float) -> Callable[[int], float]:
    """The factor (1 - step / total_steps) ** power, 0 from the last step on (paper, section 6)."""

    def factor(step: int) -> float:
        remaining = 1 - min(step, total_steps) / total_steps
        return float(remaining**power)

    return factor
