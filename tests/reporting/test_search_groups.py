import pytest

from vseg_nas.nas.trial import Evaluation, Trial, TrialState
from vseg_nas.reporting.search_groups import group_searches, reward_band
from vseg_nas.space import Genotype, Layer

CELL = Genotype((Layer(0, 1, 0, 5, 1),))
PPO = {"strategy.name": "ppo", "strategy.feedback": "hidden", "dataset.name": "camvid", "phase.search.epochs": 20}
RANDOM = {"strategy.name": "random", "dataset.name": "camvid", "phase.search.epochs": 20}


def search(*scores: float | None) -> list[Trial]:
    trials = []
    for i, score in enumerate(scores):
        fresh = Trial(i, CELL, seed=i, state=TrialState.RUNNING)
        if score is None:
            trials.append(fresh.failed("broken"))
        else:
            trials.append(fresh.completed(Evaluation(score, score, score, score, 1000, 2000, 3.0, 4)))
    return trials


def test_searches_that_differ_in_nothing_that_matters_are_one_group() -> None:
    configs = [
        PPO | {"seed": 0, "name": "a", "phase.search.trials": 10, "gpu.name": "cpu"},
        RANDOM | {"seed": 0},
        PPO | {"seed": 1, "name": "b", "phase.search.trials": 20, "gpu.name": "auto"},
    ]
    ppo, uniform = group_searches(configs)
    assert (ppo.name, ppo.strategy, ppo.dataset, ppo.differs, ppo.members) == (
        "ppo on CamVid",
        "ppo",
        "CamVid",
        "",
        (0, 2),
    )
    assert (uniform.name, uniform.members) == ("random on CamVid", (1,))


def test_groups_of_one_strategy_are_named_by_what_differs() -> None:
    configs = [PPO, PPO | {"strategy.feedback": "token"}, PPO | {"phase.search.epochs": 5}, RANDOM]
    groups = group_searches(configs)
    assert {group.name: group.members for group in groups} == {
        "ppo on CamVid, epochs 20, feedback hidden": (0,),
        "ppo on CamVid, epochs 20, feedback token": (1,),
        "ppo on CamVid, epochs 5, feedback hidden": (2,),
        "random on CamVid": (3,),
    }
    assert [group.differs for group in groups][1:] == ["epochs 20, feedback token", "epochs 5, feedback hidden", ""]


def test_a_band_by_hand() -> None:
    band = reward_band([search(0.2, 0.4, 0.6, 0.8), search(0.4, 0.4, 0.1)], window=2)
    assert band.candidates == (0, 1, 2)  # the second search ends there
    assert band.mean == pytest.approx((0.3, 0.35, 0.375))  # of running means .2 .3 .5 and .4 .4 .25
    assert band.low == pytest.approx((0.2, 0.3, 0.25))
    assert band.high == pytest.approx((0.4, 0.4, 0.5))
    assert band.searches == 2


def test_a_failed_candidate_leaves_the_running_mean_as_it_was() -> None:
    band = reward_band([search(None, 0.2, None, 0.4)], window=10)
    assert band.candidates == (1, 2, 3)  # nothing is known before the first score
    assert band.mean == pytest.approx((0.2, 0.2, 0.3))


def test_running_trials_are_not_candidates_yet() -> None:
    running = Trial(1, CELL, seed=1, state=TrialState.RUNNING)
    assert reward_band([[*search(0.5), running]], window=2).candidates == (0,)
