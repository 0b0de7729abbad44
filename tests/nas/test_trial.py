import dataclasses
import math

import pytest

from tests.builders import GOOD
from vseg_nas.nas.seeds import derive_seed
from vseg_nas.nas.trial import Evaluation, FailureKind, Trial, TrialState
from vseg_nas.space import Genotype

CELL = Genotype.from_tokens([0, 1, 2, 3, 4])
ASKED = Trial(3, CELL, seed=1, state=TrialState.RUNNING)


def test_an_ended_trial_says_how_it_ended() -> None:
    assert ASKED.completed(GOOD).state is TrialState.COMPLETE
    stopped = ASKED.completed(dataclasses.replace(GOOD, stopped=True))
    assert (stopped.state, stopped.reward) == (TrialState.STOPPED, 0.5)
    again = dataclasses.replace(ASKED, id=5).reusing(stopped)
    assert (again.state, again.reward, again.reused_from) == (TrialState.STOPPED, 0.5, 3)
    assert again.evaluation is not None
    assert again.evaluation.seconds == 0


def test_a_failure_has_a_reward_only_if_it_is_given_one() -> None:
    assert ASKED.reward is None
    assert ASKED.failed("oom: no room").reward is None
    assert ASKED.failed("oom: no room", reward=0.0).reward == 0.0


def test_a_failure_has_a_kind_and_nothing_else_has() -> None:
    assert ASKED.failed("bang").failure is FailureKind.ERROR
    assert ASKED.failed("no room", kind=FailureKind.OOM).failure is FailureKind.OOM
    others = (ASKED, ASKED.completed(GOOD), ASKED.abandoned("three kills"))
    assert [trial.failure for trial in others] == [None] * 3


def test_an_abandoned_trial_has_ended_and_says_nothing_about_its_cell() -> None:
    abandoned = ASKED.abandoned("three kills")
    assert abandoned.state.is_final
    assert (abandoned.evaluation, abandoned.reward, abandoned.reason) == (None, None, "three kills")


def test_nothing_can_be_reused_from_a_failure() -> None:
    with pytest.raises(ValueError, match="trial 3 has no evaluation"):
        ASKED.reusing(ASKED.failed("error: bang"))


@pytest.mark.parametrize("bad", [math.nan, math.inf])
@pytest.mark.parametrize("metric", ["score", "miou", "fwiou", "macc"])
def test_one_bad_metric_makes_an_evaluation_unusable(metric: str, bad: float) -> None:
    assert GOOD.is_finite
    assert not Evaluation(**dataclasses.asdict(GOOD) | {metric: bad}).is_finite


def test_final_states() -> None:
    assert [state for state in TrialState if not state.is_final] == [TrialState.RUNNING]


def test_derived_seeds_are_stable_and_unrelated() -> None:
    assert derive_seed(0, "trial", 0) == 1192658259  # printf 0:trial:0 | sha256sum | head -c 8, halved
    seeds = {derive_seed(seed, "trial", id_) for seed in range(20) for id_ in range(50)}
    assert len(seeds) == 1000
    assert all(0 <= seed < 2**31 for seed in seeds)
