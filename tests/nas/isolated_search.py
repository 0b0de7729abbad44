"""Searches whose candidates run in children, and checks of them at any length."""

import math
import os
import signal
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import torch

from tests.builders import SPACE, state_of
from tests.nas.faults import FAULTS, Faulty, kind_of
from tests.processes import ROOT, start, wait_until
from vseg_nas.nas.executors.isolated import IsolatedExecutor
from vseg_nas.nas.executors.serial import SerialExecutor
from vseg_nas.nas.executors.worker import EvaluatorFactory
from vseg_nas.nas.loop import SearchLoop
from vseg_nas.nas.pruners import HalfwayPruner, NoPruner, Pruner
from vseg_nas.nas.settings import Budget
from vseg_nas.nas.store import TrialStore
from vseg_nas.nas.strategies.base import build_strategy
from vseg_nas.nas.strategies.settings import PPOSettings
from vseg_nas.nas.trial import Trial, TrialState
from vseg_nas.space import SearchSpace


def isolated(factory: EvaluatorFactory, folder: Path, pruner: Pruner | None = None, **options: Any) -> IsolatedExecutor:
    return IsolatedExecutor(factory, pruner or NoPruner(), folder / "worker", **options)


def children() -> list[psutil.Process]:
    """Living candidates' processes, which are children of the fork server."""
    return [
        process
        for process in psutil.Process().children(recursive=True)
        if process.ppid() != os.getpid() and process.status() != psutil.STATUS_ZOMBIE
    ]


def search(
    folder: Path,
    factory: EvaluatorFactory,
    how: str,
    trials: int,
    space: SearchSpace = SPACE,
    batch: int = 1,
    **options: Any,
) -> tuple[list[Trial], Any]:
    """All trials of a search, and the state it ended in."""
    rule = HalfwayPruner(0, initial_average=0.3, decay=0.9)
    where = folder / how
    where.mkdir()
    executor = SerialExecutor(factory(rule, where)) if how == "serial" else isolated(factory, where, rule, **options)
    strategy = build_strategy(PPOSettings(learning_rate=1e-3, minibatch_size=8), space, 0)
    with TrialStore(where / "search.sqlite") as store:
        loop = SearchLoop(
            strategy,
            executor,
            rule,
            store,
            seed=1,
            budget=Budget(trials),
            failed_reward=0.0,
            max_failures_in_a_row=99,
            batch=batch,
        )
        ended = loop.run()
        assert store.trials() == ended
        return ended, state_of(store)


def check_faults(folder: Path, trials: int, share: float) -> None:
    """Every trial is final, failures have the kind that was injected, and the controller is sane."""
    factory = Faulty(share=share)
    ended, state = search(folder, factory, "isolated", trials, limit_s=1.0, grace_s=0.3, memory_gib=3.0)
    injected = [factory.fault(trial.seed) for trial in ended if trial.reused_from is None]
    assert set(FAULTS) < set(injected)
    found = [trial.failure for trial in ended if trial.reused_from is None]
    assert found == [None if fault is None else kind_of(fault) for fault in injected]
    assert all(trial.state is TrialState.FAILED for trial in ended if trial.failure is not None)
    assert all(trial.state.is_final and trial.state is not TrialState.ABANDONED for trial in ended)
    assert all(trial.reward == 0 for trial in ended if trial.failure is not None)
    assert all(torch.tensor(weights).isfinite().all() for weights in state["strategy"]["policy"].values())
    assert math.isfinite(state["strategy"]["baseline"])
    assert state["strategy"]["pending"] == []


def is_written(file: Path) -> bool:
    return file.exists() and file.stat().st_size > 0


def check_ends(folder: Path, searches: int) -> None:
    """No candidate is left 5 s after a search ends in the middle of it: the last by Ctrl-C, all others by SIGKILL."""
    errors = folder / "errors"
    found: list[psutil.Process] = []
    with (
        errors.open("w") as file,
        start(
            "tests.nas.faults", str(folder), str(searches), cwd=ROOT, stderr=file, environment={"SLURM_JOB_ID": "7"}
        ) as starter,
    ):
        try:
            for i in range(searches):
                search = folder / str(i)
                evaluating = search / "evaluating"
                wait_until(partial(is_written, evaluating), starter)
                assert evaluating.read_text() == "as []"  # no job of Slurm's
                parent = psutil.Process(int((search / "parent").read_text()))
                descendants = parent.children(recursive=True)
                found += [parent, *descendants]
                candidate = [process for process in descendants if process.ppid() != parent.pid]
                assert (len(candidate), len(descendants)) == (1, 3)  # the others: fork server, resource tracker
                os.killpg(parent.pid, signal.SIGINT) if i == searches - 1 else parent.kill()
                assert psutil.wait_procs(candidate, timeout=5)[1] == []
                assert psutil.wait_procs(descendants, timeout=20)[1] == []
        finally:
            for process in found + psutil.Process(starter.pid).children(recursive=True):
                with suppress(psutil.NoSuchProcess):
                    process.kill()
    assert errors.read_text().count("Traceback") == errors.read_text().count("KeyboardInterrupt") == 1
