"""Run by test_resume.py: searches that are killed again and again, and their histories as JSON.

Forks a child for each attempt, so that torch is imported once. Nothing is computed before a fork.
"""

import gc
import hashlib
import io
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch

from vseg_nas.nas.executor import SerialExecutor
from vseg_nas.nas.fake import FakeEvaluator
from vseg_nas.nas.loop import Budget, SearchLoop
from vseg_nas.nas.stopping import Halfway
from vseg_nas.nas.store import TrialStore
from vseg_nas.nas.strategy import build_strategy
from vseg_nas.nas.trial import Evaluation, Progress, Trial
from vseg_nas.space import Genotype, SearchSpace

SPACE = SearchSpace(2)
TARGET = SPACE.genotype([0, 1, 2, 3, 4, 5, 4, 3, 2, 1])
TRIALS = 6
POINTS = (
    *("ask: before write", "ask: inside write", "ask: after write"),
    *("evaluate: start", "evaluate: end"),
    *("tell: before write", "tell: inside write", "tell: after write"),
)
At = Callable[[str, int], None]


class MortalStore(TrialStore):
    """Announces the moments before, in the middle of and after each write."""

    at: At
    moment: tuple[str, int]

    def add(self, trials: Iterable[Trial], snapshot: bytes) -> None:
        self._announced("ask", len(self), lambda: super(MortalStore, self).add(trials, snapshot))

    def finish(self, trial: Trial, snapshot: bytes) -> None:
        self._announced("tell", trial.id, lambda: super(MortalStore, self).finish(trial, snapshot))

    def _announced(self, verb: str, trial: int, write: Callable[[], None]) -> None:
        self.moment = verb, trial
        self.at(f"{verb}: before write", trial)
        write()
        self.at(f"{verb}: after write", trial)

    def _write_snapshot(self, state: bytes) -> None:
        super()._write_snapshot(state)
        verb, trial = self.moment
        self.at(f"{verb}: inside write", trial)


class MortalEvaluator(FakeEvaluator):
    """Fails now and then, and announces the start and the end of each evaluation."""

    at: At
    store: TrialStore

    def evaluate(self, genotype: Genotype, seed: int, progress: Progress) -> Evaluation:
        trial = len(self.store) - 1
        self.at("evaluate: start", trial)
        evaluation = super().evaluate(genotype, seed, progress)
        self.at("evaluate: end", trial)
        if seed % 4 == 0:
            raise ValueError("this cell does not train")
        return evaluation


def build(folder: Path, at: At) -> SearchLoop:
    stopping = Halfway(0, initial_average=0.5, decay=0.9)
    strategy = build_strategy("ppo", SPACE, 0, learning_rate=1e-3)
    store = MortalStore(folder / "search.sqlite")
    evaluator = MortalEvaluator(TARGET, stopping)
    store.at = evaluator.at = at
    evaluator.store = store
    return SearchLoop(strategy, SerialExecutor(evaluator), stopping, store, seed=3, budget=Budget(TRIALS))


def in_child(act: Callable[[], None], kill_after_s: float | None = None) -> bool:
    """Runs `act` in a fork; whether that lived to the end."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        act()
        os._exit(0)
    if kill_after_s is not None:
        time.sleep(kill_after_s)
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) and status != 0:
        raise SystemExit(f"a child failed with status {status}")
    return status == 0


def search(folder: Path, kill_at: tuple[str, int] | None = None, kill_after_s: float | None = None) -> bool:
    def at(point: str, trial: int) -> None:
        if (point, trial) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def run() -> None:
        build(folder, at).run()

    return in_child(run, kill_after_s)


def history(folder: Path) -> dict[str, object]:
    """Every trial, and a hash of the state the search ended in."""
    report = folder / "history.json"

    def write() -> None:
        with TrialStore.read(folder / "search.sqlite") as store:
            snapshot = store.snapshot()
            assert snapshot is not None
            state = torch.load(io.BytesIO(snapshot), weights_only=True)
            del state["worked_s"]
            trials = list(map(repr, store.trials()))
        report.write_text(json.dumps({"trials": trials, "state": digest(state)}))

    in_child(write)
    found: dict[str, object] = json.loads(report.read_text())
    return found


def digest(state: Any) -> str:
    return hashlib.sha256(repr(plain(state)).encode()).hexdigest()


def plain(value: Any) -> Any:
    if isinstance(value, torch.Tensor):
        return value.numpy().tobytes()
    if isinstance(value, dict):
        return {key: plain(item) for key, item in value.items()}
    return list(map(plain, value)) if isinstance(value, Sequence) and not isinstance(value, str) else value


def run_uninterrupted(folder: Path) -> dict[str, object]:
    started = time.monotonic()
    lived = search(folder)
    return history(folder) | {"kills": int(not lived), "seconds": time.monotonic() - started}


def run_killed_at_every_point(folder: Path) -> dict[str, object]:
    kills = 0
    for trial in (0, 3, TRIALS - 1):
        for point in POINTS:
            kills += not search(folder, kill_at=(point, trial))
    search(folder)
    return history(folder) | {"kills": kills}


def run_killed_at_random(folder: Path, longest_s: float, attempts: int) -> dict[str, object]:
    rng = random.Random(0)
    kills = 0
    for _ in range(attempts):
        kills += not search(folder, kill_after_s=rng.uniform(0, longest_s))
    search(folder)
    return history(folder) | {"kills": kills}


def main(folder: Path) -> None:
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])  # seconds of imports, once for all children
    gc.freeze()  # or every child's collector would copy all the memory it shares with this process
    for name in ("uninterrupted", "points", "random"):
        (folder / name).mkdir()
    uninterrupted = run_uninterrupted(folder / "uninterrupted")
    longest_s = float(str(uninterrupted["seconds"])) / 6  # shorter than what is left, for most attempts
    histories = {
        "uninterrupted": uninterrupted,
        "points": run_killed_at_every_point(folder / "points"),
        "random": run_killed_at_random(folder / "random", longest_s, attempts=8),
    }
    sys.stdout.write(json.dumps(histories))
    gc.unfreeze()


if __name__ == "__main__":
    main(Path(sys.argv[1]))
