"""From scores on clips to the reward of a candidate."""

from dataclasses import replace

import pytest
import torch
from torch import nn

from tests.builders import GOOD, SPACE, scored
from vseg_nas.errors import ConfigError
from vseg_nas.metrics.clip_scores import ClipCounts, ClipScores
from vseg_nas.models.cell import DynamicCell
from vseg_nas.nas.frame_cost import frame_cost
from vseg_nas.nas.history import best_cells
from vseg_nas.nas.rewards import reward_of, score_of
from vseg_nas.nas.settings import CostSettings, GeometricMeanSettings, RollingSettings
from vseg_nas.results.scores import SegmentationScores
from vseg_nas.space.hand_written import HAND_WRITTEN

ROLLING = RollingSettings(failed=None, reference=False, key_every=4, over="mean", steadiness=0.0, cost=CostSettings())


def of(score: float) -> SegmentationScores:
    return SegmentationScores(miou=score, fwiou=score, macc=score, score=score, iou_per_class=(score,))


SCORES = ClipScores(of(0.7), (of(0.8), of(0.4), of(0.2)), 0.81)


def test_scores_by_reward() -> None:
    assert score_of(GeometricMeanSettings(), SCORES) == 0.7
    assert score_of(ROLLING, SCORES) == pytest.approx(0.4)  # (.8 * .4 * .2) ** (1 / 3)
    assert score_of(ROLLING.model_copy(update={"over": "minimum"}), SCORES) == 0.2
    assert score_of(ROLLING.model_copy(update={"steadiness": 0.5}), SCORES) == pytest.approx(0.36)
    assert score_of(ROLLING, SCORES._replace(by_distance=(of(0.8), of(0.0)))) == 0


def test_steadiness_that_cannot_be_told_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"^reward.steadiness: found no pixel that keeps its class"):
        score_of(ROLLING.model_copy(update={"steadiness": 1.0}), SCORES._replace(steadiness=None))


@pytest.mark.parametrize(
    ("budget", "cost", "reward"),
    [(None, 0.9, 0.6), (0.5, 0.4, 0.6), (0.5, 0.5, 0.6), (0.5, 2.0, 0.3), (0.5, None, 0.6)],
)
def test_a_cost_above_the_budget_lowers_the_reward(budget: float | None, cost: float | None, reward: float) -> None:
    settings = CostSettings(size=(64, 64), budget=budget, exponent=0.5)
    assert reward_of(settings, 0.6, cost) == pytest.approx(reward)


def test_a_budget_needs_a_size() -> None:
    with pytest.raises(ConfigError, match=r"reward.cost.size: found null with a budget, expected height and width"):
        CostSettings(budget=0.5)


def test_cells_are_ranked_by_reward() -> None:
    cheap, dear = (
        scored(SPACE.genotype([i, 1, 2, 3, 4, 5, 4, 3, 2, 1]), score, i) for i, score in enumerate((0.5, 0.6))
    )
    assert dear.evaluation is not None
    dear = replace(dear, evaluation=replace(dear.evaluation, penalised=0.4))
    assert [cell.trial.id for cell in best_cells([cheap, dear], 2)] == [0, 1]
    assert (dear.reward, replace(dear, evaluation=GOOD).reward) == (0.4, GOOD.score)


def test_clips_are_scored_by_distance_and_for_steadiness() -> None:
    """One row of four pixels over three frames; the last pixel is ignored."""
    truth = torch.tensor([[[[0, 0, 1, 255]], [[0, 1, 1, 255]], [[0, 1, 1, 255]]]])
    predictions = [torch.tensor([[row]]) for row in ([0, 0, 1, 0], [0, 1, 0, 1], [0, 1, 0, 0])]
    counts = ClipCounts(2)
    counts.update(predictions, truth)
    scores = counts.scores()
    assert [s.miou for s in scores.by_distance] == pytest.approx([1.0, 0.5, 0.5])
    # Of the pixels whose truth stays, 0 and 2 and then 0, 1 and 2, only pixel 2 changes once.
    assert scores.steadiness == pytest.approx(4 / 5)
    assert scores.whole.fwiou == pytest.approx((4 / 9) * (4 / 6) + (5 / 9) * (3 / 5))
    single = ClipCounts(2)
    single.update(predictions[:1], truth[:, :1])
    assert single.scores().steadiness is None


def test_cost_is_the_average_over_the_key_frame_period() -> None:
    """With a key frame every N frames the cost of a cell c tends from 1 towards c as N grows."""
    torch.manual_seed(0)
    cell, classifier = DynamicCell(HAND_WRITTEN["low_latency"]), nn.Conv2d(64, 5, 3, padding=1)
    state = torch.random.get_rng_state()
    costs = [frame_cost(cell, classifier, (64, 96), n, 5, torch.device("cpu")) for n in (2, 20)]
    assert torch.random.get_rng_state().equal(state)
    assert 0 < costs[1] < costs[0] < 1
    assert cell.training
