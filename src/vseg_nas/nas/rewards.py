"""From what a cell showed on meta-val to its score and its reward."""

import statistics

from vseg_nas.errors import ConfigError
from vseg_nas.metrics.clip_scores import ClipScores
from vseg_nas.nas.settings import CostSettings, GeometricMeanSettings, RewardSettings


def score_of(settings: RewardSettings, scores: ClipScores) -> float:
    """Returns the score that is maximised, apart from cost, as a fraction.

    For `geometric_mean` it is the geometric mean of mIoU, fwIoU and mAcc over all frames after the first (section 3.3).
    For `rolling` it is the geometric mean of these geometric means over the distances from the key frame, or the
    smallest of them, times the power of the steadiness.

    Raises:
        ConfigError: Steadiness counts, and meta-val has no two successive frames with a class in common.
    """
    if isinstance(settings, GeometricMeanSettings):
        return scores.whole.score
    values = [of_distance.score for of_distance in scores.by_distance]
    # A single distance at which nothing is right makes the mean 0; the statistics module would refuse that value.
    mean = statistics.geometric_mean(values) if min(values) > 0 else 0.0
    score = mean if settings.over == "mean" else min(values)
    if not settings.steadiness:
        return score
    if scores.steadiness is None:
        raise ConfigError("reward.steadiness: found no pixel that keeps its class for two frames of meta-val")
    return score * float(scores.steadiness**settings.steadiness)


def reward_of(settings: CostSettings, score: float, cost: float | None) -> float:
    """Returns the reward: the score, less if a frame costs more than the budget.

    The reward does not rise below the budget: a cheaper cell that is as good is no better deal than was asked for.
    MnasNet (Tan et al., 2019) calls the power of the ratio a soft constraint.

    Args:
        settings: Budget and exponent.
        score: The score.
        cost: The average cost of a frame; None if it was not measured.
    """
    if settings.budget is None or cost is None or cost <= settings.budget:
        return score
    return score * float((settings.budget / cost) ** settings.exponent)
