"""Run by test_resume.py and test_kills.py: searches that are killed again and again, and their histories as JSON.

Each session of a search is a fork. Nothing is computed before a fork.
"""

import hashlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple

import torch

from tests.builders import SPACE, TARGET, state_of
from vseg_nas.errors import RunError
from vseg_nas.nas.executors.serial import SerialExecutor
from vseg_nas.nas.fake import FakeEvaluator
from vseg_nas.nas.loop import SearchLoop
from vseg_nas.nas.pruners import HalfwayPruner
from vseg_nas.nas.queue import MAX_ATTEMPTS
from vseg_nas.nas.settings import Budget
from vseg_nas.nas.store import STORE, TrialStore
from vseg_nas.nas.strategies.base import build_strategy
from vseg_nas.nas.strategies.settings import PPOSettings
from vseg_nas.nas.trial import Evaluation, Progress, Trial
from vseg_nas.space import Genotype

USES_NO_ATTEMPT_UP = (
    *("ask: before write", "ask: inside write", "ask: after write"),
    *("attempt: before write", "attempt: inside write"),
)
USES_ONE_UP = (
    *("attempt: after write", "evaluate: start", "evaluate: end"),
    *("tell: before write", "tell: inside write"),
)
POINTS = (*USES_NO_ATTEMPT_UP, *USES_ONE_UP, "tell: after write")
History = dict[str, object]
At = Callable[[str, int], None]


class Setting(NamedTuple):
    """What a search is a function of."""

    seed: int = 3
    trials: int = 6

    @property
    def places(self) -> tuple[int, ...]:
        """The first, a middle and the last trial."""
        return 0, self.trials // 2, self.trials - 1


class MortalStore(TrialStore):
    """Announces the moments before, in the middle of and after each write."""

    at: At
    moment: tuple[str, int] | None = None

    def add(self, trials: Iterable[Trial], snapshot: bytes) -> None:
        with self._announced("ask", len(self)):
            super().add(trials, snapshot)

    def set_attempts(self, trial: Trial, attempts: int) -> None:
        with self._announced("attempt", trial.id):
            super().set_attempts(trial, attempts)

    def finish(self, trial: Trial, snapshot: bytes, attempts: int | None = None) -> None:
        with self._announced("tell", trial.id):
            super().finish(trial, snapshot, attempts)

    @contextmanager
    def _announced(self, verb: str, trial: int) -> Iterator[None]:
        self.moment = verb, trial
        self.at(f"{verb}: before write", trial)
        yield
        self.at(f"{verb}: after write", trial)

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        with super()._transaction():
            yield
            if self.moment is not None:
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


def build(folder: Path, setting: Setting, at: At) -> SearchLoop:
    pruner = HalfwayPruner(setting.seed, initial_average=0.5, decay=0.9)
    strategy = build_strategy(PPOSettings(learning_rate=1e-3, minibatch_size=4), SPACE, setting.seed)
    store = MortalStore(folder / STORE)
    evaluator = MortalEvaluator(TARGET, pruner)
    store.at = evaluator.at = at
    evaluator.store = store
    budget = Budget(setting.trials)
    return SearchLoop(strategy, SerialExecutor(evaluator), pruner, store, seed=setting.seed, budget=budget)


def in_child(act: Callable[[], None], kill_after: Callable[[], object] | None = None) -> bool:
    """Runs `act` in a fork, which is killed once `kill_after` returns; whether it lived to the end."""
    child = os.fork()
    if child == 0:
        torch.set_num_threads(1)
        act()
        os._exit(0)
    if kill_after is not None:
        kill_after()
        os.kill(child, signal.SIGKILL)
    _, status = os.waitpid(child, 0)
    if not os.WIFSIGNALED(status) and status != 0:
        raise SystemExit(f"a child failed with status {status}")
    return status == 0


def search(
    folder: Path,
    setting: Setting,
    kill_at: tuple[str, int] | None = None,
    kill_after: Callable[[], object] | None = None,
) -> bool:
    """One session of a search; whether it lived to the end."""

    def at(point: str, trial: int) -> None:
        if (point, trial) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    def run() -> None:
        build(folder, setting, at).run()

    folder.mkdir(parents=True, exist_ok=True)
    return in_child(run, kill_after)


def history(folder: Path) -> History:
    """Every trial, and a hash of the state the search ended in."""
    report = folder / "history.json"

    def write() -> None:
        with TrialStore.read(folder / STORE) as store:
            trials = list(map(repr, store.trials()))
            state = hashlib.sha256(repr(state_of(store)).encode()).hexdigest()
        report.write_text(json.dumps({"trials": trials, "state": state}))

    in_child(write)
    found: History = json.loads(report.read_text())
    return found


def uninterrupted(folder: Path, setting: Setting) -> History:
    started = time.monotonic()
    lived = search(folder, setting)
    return history(folder) | {"kills": int(not lived), "seconds": time.monotonic() - started}


def killed_at(folder: Path, setting: Setting, points: Iterable[tuple[str, int]]) -> History:
    """A search killed at one point after the other, then left to its end."""
    kills = sum(not search(folder, setting, kill_at=point) for point in points)
    search(folder, setting)
    return history(folder) | {"kills": kills}


def killed_at_every_point(folder: Path, setting: Setting) -> list[History]:
    """In three searches, because three kills of one attempt after the other would abandon the trial."""
    groups = [(*USES_NO_ATTEMPT_UP, *USES_ONE_UP[:2]), USES_ONE_UP[2:4], (*USES_ONE_UP[4:], POINTS[-1])]
    return [
        killed_at(folder / str(i), setting, [(point, trial) for trial in setting.places for point in points])
        for i, points in enumerate(groups)
    ]


def killed_at_random(folder: Path, setting: Setting, longest_s: float, kills: int) -> list[History]:
    """Searches whose every session is killed after up to `longest_s`, one after the other until `kills` are done."""
    rng = random.Random(setting.seed)
    histories: list[History] = []
    done = 0
    while done < kills:
        run = folder / str(len(histories))
        run.mkdir(parents=True)
        before = done
        while not search(run, setting, kill_after=RandomMoment(run, rng.uniform(0, longest_s))):
            done += 1
        histories.append(history(run) | {"kills": done - before})
    return histories


class RandomMoment:
    """Waits for some seconds; before them, for the end of a trial that one more kill would abandon."""

    def __init__(self, folder: Path, seconds: float) -> None:
        self.store = folder / STORE
        self.seconds = seconds
        self.spared = self._at_risk()

    def __call__(self) -> None:
        while self.spared and self.spared & self._at_risk():
            time.sleep(0.01)
        time.sleep(self.seconds)

    def _at_risk(self) -> set[int]:
        with suppress(RunError), TrialStore.read(self.store) as store:  # there is none yet: nothing is at risk
            return {trial.id for trial in store.unfinished() if store.attempts(trial) >= MAX_ATTEMPTS - 1}
        return set()


def default_form(folder: Path) -> dict[str, object]:
    setting = Setting()
    whole = uninterrupted(folder / "uninterrupted", setting)
    longest_s = float(str(whole["seconds"])) / 3
    return {
        "uninterrupted": [whole],
        "points": killed_at_every_point(folder / "points", setting),
        "random": killed_at_random(folder / "random", setting, longest_s, kills=3),
        "abandoned": [killed_at(folder / "abandoned", setting, [("evaluate: start", 2)] * MAX_ATTEMPTS)],
    }


def full_form(folder: Path) -> dict[str, object]:
    result: dict[str, object] = {}
    for setting in (Setting(seed, trials=12) for seed in range(5)):
        whole = uninterrupted(folder / f"{setting.seed}", setting)
        longest_s = float(str(whole["seconds"])) / 3
        killed = killed_at_random(folder / f"{setting.seed}-random", setting, longest_s, kills=40)
        result[f"seed {setting.seed}"] = [whole, *killed]
    setting = Setting()
    points = [(point, trial) for trial in setting.places for point in POINTS]
    killed = [killed_at(folder / f"point {i}", setting, [point]) for i, point in enumerate(points)]
    return result | {"points": [uninterrupted(folder / "whole", setting), *killed]}


def main() -> None:
    """Writes histories of the form that the command line names to standard output."""
    form, folder = sys.argv[1], Path(sys.argv[2])
    histories = {"default": default_form, "full": full_form}[form](folder)
    sys.stdout.write(json.dumps(histories))
