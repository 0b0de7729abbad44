import math
import random
from collections.abc import Callable

import pytest

from vseg_nas.nas.trial import Evaluation, Trial, TrialState
from vseg_nas.space import SearchSpace

MakeTrials = Callable[[int], list[Trial]]


def _evaluation(rng: random.Random, index: int) -> Evaluation:
    miou = 0.3 + 0.2 * (1 - math.exp(-index / 25)) + rng.gauss(0, 0.03)
    fwiou, macc = miou * 1.4, miou * 1.2
    score = (miou * fwiou * macc) ** (1 / 3)
    stopped = rng.random() < 0.2
    epochs = 5 if stopped else 10
    sizes = rng.randrange(40_000, 400_000), rng.randrange(10**8, 2 * 10**9)
    return Evaluation(score, miou, fwiou, macc, *sizes, rng.uniform(4, 14), epochs, stopped)


@pytest.fixture
def make_trials() -> MakeTrials:
    """Ended trials of a search of 5 layers: every 8th fails, every 7th reuses the first one."""

    def make(count: int) -> list[Trial]:
        rng, space, trials = random.Random(0), SearchSpace(5), list[Trial]()
        for i in range(count):
            trial = Trial(i, space.sample(rng), rng.randrange(2**31), TrialState.RUNNING)
            if i % 8 == 7:
                trials.append(trial.failed("NonFiniteError: the loss is nan\nin epoch 3"))
            elif i % 7 == 6:
                reused = Trial(i, trials[0].genotype, trial.seed, TrialState.RUNNING).reusing(trials[0])
                trials.append(reused)
            else:
                trials.append(trial.completed(_evaluation(rng, i)))
        return trials

    return make
