"""Run by test_isolated.py: says the process of a candidate that has four seconds, and what came of it."""

import os
import sys
import time
from pathlib import Path

from tests.builders import GOOD
from tests.nas.faults import Acting, Candidate, trial
from tests.nas.isolated_search import isolated
from tests.nas.loops import run_trials
from vseg_nas.nas.executors.executor import Failure
from vseg_nas.nas.trial import Evaluation, Trial


def say_and_compute(candidate: Candidate) -> Evaluation:
    candidate.progress(os.getpid(), 2, None)
    for _ in range(15):
        time.sleep(0.1)
    return GOOD


def say(trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
    print(epoch, flush=True)  # noqa: T201


def main() -> None:
    folder = Path(sys.argv[1])
    executor = isolated(Acting(say_and_compute), folder, limit_s=4.0, grace_s=1.0)
    for _, result in run_trials(executor, [trial(0)], say):
        print(result.kind if isinstance(result, Failure) else None, flush=True)  # noqa: T201
