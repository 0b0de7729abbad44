"""Run by test_ray.py: a search on a Ray of its own."""

import json
import sys
from pathlib import Path
from typing import Any

import psutil

from tests.nas.faults import Acting, trial
from tests.nas.loops import run_trials
from tests.nas.ray_search import Slow, executor, report_and_hang, rule, search_loop
from vseg_nas.nas.store import STORE, TrialStore
from vseg_nas.nas.trial import Trial
from vseg_nas.runs.signals import stopping


def note_children(trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
    found = [process.pid for process in psutil.Process().children(recursive=True)]
    print(json.dumps(found), flush=True)  # noqa: T201


def main() -> None:
    """A search that goes on where it stands, in a Ray of its own; or two candidates that hang."""
    folder, mode = Path(sys.argv[1]), sys.argv[2]
    if mode == "hang":
        with stopping():
            list(run_trials(executor(Acting(report_and_hang), None, workers=2), map(trial, range(4)), note_children))
    here = rule()
    with TrialStore(folder / STORE) as store:
        recipe = Slow(folder / "notes")
        options: dict[str, Any] = {"asynchronous": True} if mode == "async" else {"batch": 4}
        search_loop(store, executor(recipe, None, here, workers=2), here, 24, **options).run()
