"""The paper's algorithm (section 3.3): ask for a cell, evaluate it, tell the strategy the score, save."""

import io
import itertools
import logging
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Protocol

import torch

from vseg_nas.errors import RunError, UserError
from vseg_nas.nas.executor import Died, Executor, Failure
from vseg_nas.nas.stopping import StoppingRule
from vseg_nas.nas.store import TrialStore
from vseg_nas.nas.strategy import Strategy
from vseg_nas.nas.trial import Evaluation, FailureKind, Trial, TrialState, derive_seed

MAX_ATTEMPTS = 3

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Budget:
    """When to stop asking: after so many trials of any kind, or so many hours over all sessions of a run."""

    trials: int
    hours: float | None = None


class SearchListener(Protocol):
    """Watches a search: a live view, a logger. What it raises ends the search, never just a trial."""

    def on_start(self, trials: Sequence[Trial], budget: Budget) -> None:
        """The search starts or, with earlier `trials`, goes on."""

    def on_trial_start(self, trial: Trial) -> None:
        """A trial is about to be evaluated, or to reuse an evaluation."""

    def on_epoch(self, trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
        """Epoch `epoch` of `epochs` (1-based) has ended; `score` where the cell was scored at its end."""

    def on_trial_end(self, trial: Trial, trials: Sequence[Trial], diagnostics: dict[str, float]) -> None:
        """`trial`, the last of the ended `trials`, is in the store; `diagnostics` are the strategy's."""

    def on_end(self, trials: Sequence[Trial]) -> None:
        """The search is over or, just as well, interrupted."""


class SearchLoop:
    """Runs a search and continues it where the store stands.

    One transaction holds a trial asked for and the state after asking; another, its end and the state after
    learning from it. So a search killed at any moment and continued is the search that was never killed, if
    evaluations are deterministic. A third transaction counts an attempt at a trial before it starts: one that has
    ended with the whole process three times is abandoned, or it could end every session of the search. One whose
    process was its own has then failed.

    Args:
        strategy: proposes cells.
        executor: evaluates them.
        stopping: the rule the evaluator consults; the loop saves its state.
        store: of this run.
        seed: of this run; every trial derives its own.
        budget: when to stop.
        listeners: told of everything, in this order.
        failed_reward: what a failure counts for; None tells the strategy no reward.
        max_failures_in_a_row: so many are a broken set-up, not bad cells.
    """

    def __init__(
        self,
        strategy: Strategy,
        executor: Executor,
        stopping: StoppingRule,
        store: TrialStore,
        *,
        seed: int,
        budget: Budget,
        listeners: Sequence[SearchListener] = (),
        failed_reward: float | None = None,
        max_failures_in_a_row: int = 10,
    ) -> None:
        self._strategy = strategy
        self._executor = executor
        self._stopping = stopping
        self._store = store
        self._seed = seed
        self._budget = budget
        self._listeners = listeners
        self._failed_reward = failed_reward
        self._max_failures = max_failures_in_a_row
        self._ended: list[Trial] = []
        self._attempts_before: dict[int, tuple[Trial, int]] = {}
        self._again: list[tuple[Trial, int]] = []
        self._failures_in_a_row = 0

    def run(self) -> list[Trial]:
        """Searches until the budget is spent and returns all ended trials.

        An exception or a Ctrl-C passes through; a trial it interrupts stays `running` in the store, and the attempt
        at it does not count.

        Raises:
            RunError: too many failures in a row, or the store cannot be used.
        """
        self._restore()
        try:
            for listener in self._listeners:
                listener.on_start(self._ended, self._budget)
            with closing(self._executor.run(self._candidates(), self._report)) as outcomes:
                for trial, result in outcomes:
                    self._end(trial, result)
        except BaseException:
            self._take_attempts_back()
            raise
        finally:
            for listener in self._listeners:
                listener.on_end(self._ended)
        return self._ended

    def _candidates(self) -> Iterator[Trial]:
        """Trials to evaluate: interrupted ones, then new ones; a cell met before reuses its score instead."""
        for trial in itertools.chain(self._store.unfinished(), self._asked()):
            met_before = self._store.find(trial.genotype.key)
            if met_before is not None:
                self._announce(trial)
                self._tell(trial.reusing(met_before))
            elif (attempts := self._store.attempts(trial)) < MAX_ATTEMPTS:
                yield self._attempt(trial, attempts)
                while self._again:
                    yield self._attempt(*self._again.pop())
            else:
                self._abandon(trial)

    def _asked(self) -> Iterator[Trial]:
        while (id_ := len(self._store)) < self._budget.trials and not self._out_of_time():
            (genotype,) = self._strategy.ask(1)
            trial = Trial(id_, genotype, derive_seed(self._seed, "trial", id_), TrialState.RUNNING)
            self._store.add([trial], self._snapshot())
            yield trial

    def _announce(self, trial: Trial) -> None:
        for listener in self._listeners:
            listener.on_trial_start(trial)

    def _attempt(self, trial: Trial, attempts: int) -> Trial:
        self._announce(trial)
        self._attempts_before[trial.id] = trial, attempts
        self._store.count_attempts(trial, attempts + 1)
        return trial

    def _take_attempts_back(self) -> None:
        """Whatever raises an exception here did not kill the process, so it is not what attempts are counted for."""
        for trial, attempts in self._attempts_before.values():
            with suppress(UserError):  # where a full disk ended the search, it can prevent this, too
                self._store.count_attempts(trial, attempts)
        self._attempts_before.clear()

    def _end(self, trial: Trial, result: Evaluation | Failure | Died) -> None:
        match result:
            case Evaluation():
                self._tell(trial.completed(result))
            case Failure():
                self._fail(trial, result)
            case Died():
                self._retry(trial, result)

    def _retry(self, trial: Trial, died: Died) -> None:
        del self._attempts_before[trial.id]
        attempts = self._store.attempts(trial)
        logger.warning("trial %d: %s in attempt %d of %d", trial.id, died, attempts, MAX_ATTEMPTS)
        if attempts < MAX_ATTEMPTS:
            self._again.append((trial, attempts))
        else:
            self._fail(trial, Failure(FailureKind.KILLED, f"{died}, in the last of {attempts} attempts"))

    def _tell(self, trial: Trial) -> None:
        self._strategy.tell([trial])
        self._store.finish(trial, self._snapshot())
        self._attempts_before.pop(trial.id, None)
        self._ended.append(trial)
        self._failures_in_a_row = self._failures_in_a_row + 1 if trial.state is TrialState.FAILED else 0
        for listener in self._listeners:
            listener.on_trial_end(trial, self._ended, self._strategy.diagnostics())

    def _abandon(self, trial: Trial) -> None:
        reason = f"{MAX_ATTEMPTS} attempts, and each ended with the whole process (a kill, preemption, power)"
        logger.warning("trial %d is abandoned: %s", trial.id, reason)
        self._tell(trial.abandoned(reason))

    def _fail(self, trial: Trial, failure: Failure) -> None:
        self._tell(trial.failed(str(failure), self._failed_reward, failure.kind))
        if self._failures_in_a_row >= self._max_failures:
            raise RunError(f"{self._failures_in_a_row} candidates failed in a row; the last: {failure}")

    def _report(self, trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
        for listener in self._listeners:
            listener.on_epoch(trial, epoch, epochs, score)

    def _out_of_time(self) -> bool:
        return self._budget.hours is not None and self._worked_s() >= self._budget.hours * 3600

    def _worked_s(self) -> float:
        return self._worked_before_s + time.monotonic() - self._started

    def _snapshot(self) -> bytes:
        buffer = io.BytesIO()
        state = {
            "strategy": self._strategy.state_dict(),
            "stopping": self._stopping.state_dict(),
            "worked_s": self._worked_s(),
        }
        torch.save(state, buffer)
        return buffer.getvalue()

    def _restore(self) -> None:
        self._started = time.monotonic()
        self._worked_before_s = 0.0
        self._failures_in_a_row = 0
        self._again.clear()
        self._ended = [trial for trial in self._store.trials() if trial.state.is_final]
        snapshot = self._store.snapshot()
        if snapshot is not None:
            self._load(snapshot)

    def _load(self, snapshot: bytes) -> None:
        try:
            state = torch.load(io.BytesIO(snapshot), weights_only=True)
            self._strategy.load_state_dict(state["strategy"])
            self._stopping.load_state_dict(state["stopping"])
            self._worked_before_s = state["worked_s"]
        except (KeyError, RuntimeError) as error:
            raise RunError(
                "the stored state of the search does not fit: was it made with another strategy or space?"
            ) from error
