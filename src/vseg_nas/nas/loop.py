"""The paper's algorithm (section 3.3): ask for a cell, evaluate it, tell the strategy the score, save."""

import io
import logging
from collections.abc import Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from typing import Any, Protocol

import torch

from vseg_nas.clock import working_s
from vseg_nas.errors import RunError, UserError
from vseg_nas.nas.executor import Died, Executor, Failure
from vseg_nas.nas.stopping import StoppingRule, is_halfway
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
    evaluations are deterministic.

    A third transaction counts an attempt at a trial before it starts; it is taken back when the trial has ended and
    waits for its turn, or is interrupted by what is no kill. One that was being evaluated when the whole process ended,
    three times, is abandoned, or it could end every session of the search; the third time it is evaluated alone, since
    of several side by side nobody knows which it was. One whose own process has died three times has failed.

    Cells are asked for in batches. In a batch, trials are told in the order of asking, the stopping rule answers all of
    them as it stood before the batch, and of two equal cells the second waits for the first: so the history of a search
    does not depend on how many of a batch are evaluated side by side, nor on how long each takes. An asynchronous
    search instead asks for one cell whenever there is a place to evaluate it, and tells trials as they end.

    Args:
        strategy: proposes cells.
        executor: evaluates them.
        stopping: the rule the evaluator consults; the loop teaches it and saves its state.
        store: of this run.
        seed: of this run; every trial derives its own.
        budget: when to stop.
        listeners: told of everything, in this order.
        failed_reward: what a failure counts for; None tells the strategy no reward.
        max_failures_in_a_row: so many are a broken set-up, not bad cells.
        batch: cells to ask for at once.
        asynchronous: see above; `batch` then means nothing.
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
        batch: int = 1,
        asynchronous: bool = False,
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
        self._batch = batch
        self._asynchronous = asynchronous
        self._ended: list[Trial] = []
        self._restart()

    def _restart(self) -> None:
        self._open: dict[int, Trial] = {}  # asked for and not told, by id
        self._waiting: list[Trial] = []  # of these, those that are not being evaluated and have not ended
        self._running: dict[int, Trial] = {}  # of these, those that are being evaluated
        self._settled: dict[int, Trial] = {}  # of these, those that have ended
        self._halfway: dict[int, float] = {}  # scores of these
        self._heard: list[float] = []  # half-way scores of this batch that have been told, but not to the rule
        self._attempts: dict[int, int] = {}  # at those that have begun, the last one included
        self._suspects: set[int] = set()  # those that one more end of the process would abandon
        self._failures_in_a_row: int = 0

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
                try:
                    for trial, result in outcomes:
                        self._end(trial, result)
                except BaseException:  # what ends here did not kill the process
                    self._take_attempts_back()
                    raise
        finally:
            for listener in self._listeners:
                listener.on_end(self._ended)
        return self._ended

    def _candidates(self) -> Iterator[Trial | None]:
        """Trials to evaluate, interrupted ones first; None while there is none before another one has ended."""
        while True:
            trial = self._next_waiting()
            if trial is not None:
                yield self._attempt(trial)
            elif self._has_room() and len(self._store) < self._budget.trials and not self._out_of_time():
                self._ask()
            elif self._open:  # one of them is being evaluated, or the first would begin
                yield None
            else:
                return

    def _next_waiting(self) -> Trial | None:
        """Takes out the first waiting trial that can be evaluated; ends those on the way that need not be."""
        while (trial := next(filter(self._may_begin, self._waiting), None)) is not None:
            self._waiting.remove(trial)
            met_before = self._store.find(trial.genotype.key)
            if met_before is not None:
                self._announce(trial)
                self._settle(trial.reusing(met_before))
            elif self._store.attempts(trial) < MAX_ATTEMPTS:
                return trial
            else:
                self._abandon(trial)
        return None

    def _may_begin(self, trial: Trial) -> bool:
        """Whether no other one has to end before: its like, or any where one of the two is to be evaluated alone."""
        alone = trial.id in self._suspects or not self._suspects.isdisjoint(self._running)
        return self._is_first_of_its_cell(trial) and not (alone and self._running)

    def _is_first_of_its_cell(self, trial: Trial) -> bool:
        """Whether no trial asked for earlier may still yield a score to reuse."""
        key = trial.genotype.key
        return not any(other.id < trial.id and other.genotype.key == key for other in self._open.values())

    def _has_room(self) -> bool:
        """Whether to ask for more: after the batch; or always, unless as many wait for their like as are evaluated."""
        return not self._open or (self._asynchronous and 2 * len(self._waiting) < len(self._open))

    def _ask(self) -> None:
        first = len(self._store)
        count = 1 if self._asynchronous else min(self._batch, self._budget.trials - first)
        trials = [
            Trial(id_, genotype, derive_seed(self._seed, "trial", id_), TrialState.RUNNING)
            for id_, genotype in enumerate(self._strategy.ask(count), first)
        ]
        self._store.add(trials, self._snapshot())
        self._open.update((trial.id, trial) for trial in trials)
        self._waiting += trials

    def _announce(self, trial: Trial) -> None:
        for listener in self._listeners:
            listener.on_trial_start(trial)

    def _attempt(self, trial: Trial) -> Trial:
        self._announce(trial)
        self._attempts[trial.id] = self._store.attempts(trial) + 1
        self._running[trial.id] = trial
        self._store.count_attempts(trial, self._attempts[trial.id])
        return trial

    def _take_attempts_back(self) -> None:
        with suppress(UserError):  # where a full disk ended the search, it can prevent this, too
            for trial in self._running.values():
                self._take_back(trial)

    def _take_back(self, trial: Trial) -> None:
        """An end of the process from here on is none of this attempt's doing."""
        self._store.count_attempts(trial, self._attempts[trial.id] - 1)

    def _end(self, trial: Trial, result: Evaluation | Failure | Died) -> None:
        match result:
            case Evaluation():
                self._settle(trial.completed(result))
            case Failure():
                self._fail(trial, result)
            case Died():
                self._retry(trial, result)
        if trial.id in self._settled:
            self._take_back(trial)
        self._running.pop(trial.id, None)

    def _retry(self, trial: Trial, died: Died) -> None:
        attempts = self._attempts[trial.id]
        logger.warning("trial %d: %s in attempt %d of %d", trial.id, died, attempts, MAX_ATTEMPTS)
        if attempts < MAX_ATTEMPTS:
            self._waiting.insert(0, trial)
        else:
            self._fail(trial, Failure(FailureKind.KILLED, f"{died}, in the last of {attempts} attempts"))

    def _abandon(self, trial: Trial) -> None:
        reason = f"{MAX_ATTEMPTS} attempts, and each ended with the whole process (a kill, preemption, power)"
        logger.warning("trial %d is abandoned: %s", trial.id, reason)
        self._settle(trial.abandoned(reason))

    def _fail(self, trial: Trial, failure: Failure) -> None:
        self._settle(trial.failed(str(failure), self._failed_reward, failure.kind))

    def _settle(self, ended: Trial) -> None:
        """Tells the trial as soon as it is its turn."""
        self._settled[ended.id] = ended
        while (turn := ended.id if self._asynchronous else next(iter(self._open), None)) in self._settled:
            self._tell(self._settled.pop(turn))

    def _tell(self, trial: Trial) -> None:
        self._strategy.tell([trial])
        del self._open[trial.id]
        self._teach(trial)
        self._store.finish(trial, self._snapshot(), self._attempts.get(trial.id))
        self._running.pop(trial.id, None)
        self._ended.append(trial)
        self._failures_in_a_row = self._failures_in_a_row + 1 if trial.state is TrialState.FAILED else 0
        for listener in self._listeners:
            listener.on_trial_end(trial, self._ended, self._strategy.diagnostics())
        if self._failures_in_a_row >= self._max_failures:
            raise RunError(f"{self._failures_in_a_row} candidates failed in a row; the last: {trial.reason}")

    def _teach(self, trial: Trial) -> None:
        """Hands half-way scores on to the stopping rule: those of a batch at its end, in the order of telling."""
        if trial.id in self._halfway:
            self._heard.append(self._halfway.pop(trial.id))
        if self._asynchronous or not self._open:
            for score in self._heard:
                self._stopping.learn(score)
            self._heard.clear()

    def _report(self, trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
        if is_halfway(epoch, epochs) and score is not None:
            self._halfway[trial.id] = score
        for listener in self._listeners:
            listener.on_epoch(trial, epoch, epochs, score)

    def _out_of_time(self) -> bool:
        return self._budget.hours is not None and self._worked_s() >= self._budget.hours * 3600

    def _worked_s(self) -> float:
        return self._worked_before_s + working_s() - self._started

    def _snapshot(self) -> bytes:
        buffer = io.BytesIO()
        state = {
            "strategy": self._strategy.state_dict(),
            "stopping": self._stopping.state_dict(),
            "heard": self._heard,
            "worked_s": self._worked_s(),
        }
        torch.save(state, buffer)
        return buffer.getvalue()

    def _restore(self) -> None:
        self._started = working_s()
        self._worked_before_s = 0.0
        self._restart()
        self._waiting += self._store.unfinished()
        self._open.update((trial.id, trial) for trial in self._waiting)
        self._suspects = {trial.id for trial in self._waiting if self._store.attempts(trial) == MAX_ATTEMPTS - 1}
        self._ended = [trial for trial in self._store.trials() if trial.state.is_final]
        snapshot = self._store.snapshot()
        if snapshot is not None:
            self._load(snapshot)

    def _load(self, snapshot: bytes) -> None:
        try:
            state: Any = torch.load(io.BytesIO(snapshot), weights_only=True)
        except Exception as error:  # bytes that are no pickle can make the unpickler raise anything
            raise RunError("the stored state of the search is damaged or not of tensors alone") from error
        try:
            _check_finite(state)
            self._strategy.load_state_dict(state["strategy"])
            self._stopping.load_state_dict(state["stopping"])
            self._heard = [float(score) for score in state["heard"]]
            self._worked_before_s = float(state["worked_s"])
        except (KeyError, RuntimeError, TypeError, ValueError, AttributeError) as error:
            raise RunError(
                "the stored state of the search does not fit: was it made with another strategy or space?"
            ) from error


def _check_finite(state: object) -> None:
    """Raises `ValueError` for a state with a number that nothing can be computed with, at any depth."""
    if isinstance(state, dict):
        state = [*state.values()]
    if isinstance(state, list | tuple):
        for value in state:
            _check_finite(value)
    elif isinstance(state, torch.Tensor | float) and not torch.as_tensor(state).isfinite().all():
        raise ValueError("found a value that is not finite")
