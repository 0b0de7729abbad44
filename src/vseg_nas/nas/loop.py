"""The paper's algorithm (section 3.3): ask for a cell, evaluate it, tell the strategy the score, save."""

from collections.abc import Sequence

from vseg_nas.errors import RunError
from vseg_nas.nas.executors.executor import Executor
from vseg_nas.nas.listener import SearchListener
from vseg_nas.nas.pruners import Pruner
from vseg_nas.nas.queue import TrialQueue
from vseg_nas.nas.search_state import SearchState
from vseg_nas.nas.seeds import derive_seed
from vseg_nas.nas.settings import Budget
from vseg_nas.nas.store import TrialStore
from vseg_nas.nas.strategies.base import Strategy
from vseg_nas.nas.trial import Trial, TrialState


class SearchLoop:
    """Runs a search, and resumes it where its trial store stands.

    One transaction stores the trials asked for with the state after asking, another the end of a trial with the state
    after learning from it. So a search that is killed at any moment and resumed is the search that was never killed,
    if evaluations are deterministic. `TrialQueue` says in which order trials are evaluated and told, and which attempts
    at a trial count.

    Args:
        strategy: Proposes cells.
        executor: Evaluates trials.
        pruner: Pruner that the evaluator asks; the loop reports scores to it and saves its state.
        store: Trial store of the run.
        seed: Seed of the run, from which every trial derives its own.
        budget: The number of trials and of hours after which no cell is asked for.
        listeners: The listeners that are called at every event, in this order.
        failed_reward: Reward of a failed trial; with None the strategy gets no reward from it.
        max_failures_in_a_row: Number of failures in a row that are taken for a broken set-up, not for bad cells.
        batch: Number of cells to ask for at once.
        asynchronous: Whether to ask for one cell whenever it can be evaluated at once; `batch` then means nothing.
    """

    def __init__(
        self,
        strategy: Strategy,
        executor: Executor,
        pruner: Pruner,
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
        self._pruner = pruner
        self._store = store
        self._seed = seed
        self._budget = budget
        self._listeners = listeners
        self._failed_reward = failed_reward
        self._max_failures = max_failures_in_a_row
        self._batch = 1 if asynchronous else batch
        self._asynchronous = asynchronous

    def run(self) -> list[Trial]:
        """Searches until the budget is spent and returns all ended trials, in the order in which they were told.

        An exception or a Ctrl-C passes through; a trial that it interrupts stays `running` in the store, and the
        attempt at it does not count.

        Raises:
            RunError: Too many trials have failed in a row, or the store cannot be used.
        """
        self._queue = TrialQueue(self._store, asynchronous=self._asynchronous, failed_reward=self._failed_reward)
        self._ended = [trial for trial in self._store.trials() if trial.state.is_final]
        self._failures_in_a_row = 0
        self._state = SearchState(self._strategy, self._pruner, self._store.snapshot())
        try:
            for listener in self._listeners:
                listener.on_start(self._ended, self._budget)
            with self._executor.session(self._on_epoch), self._queue.released_on_error():
                self._search()
        finally:
            for listener in self._listeners:
                listener.on_end(self._ended)
        return self._ended

    def _search(self) -> None:
        strategy, executor, store = self._strategy, self._executor, self._store
        queue, state = self._queue, self._state
        while queue or self._may_ask():
            has_room = executor.has_room()
            if has_room and (trial := queue.next()):
                if earlier := store.find(trial.genotype.key):  # no cell is trained twice
                    self._announce(trial)
                    queue.finish(trial.reusing(earlier))
                elif queue.is_exhausted(trial):
                    queue.abandon(trial)
                else:
                    self._announce(trial)
                    queue.start(trial)
                    executor.submit(trial)
            elif has_room and self._may_ask():
                cells = strategy.ask(min(self._batch, self._budget.trials - len(store)))
                trials = [
                    Trial(id_, cell, derive_seed(self._seed, "trial", id_), TrialState.RUNNING)
                    for id_, cell in enumerate(cells, len(store))
                ]
                store.add(trials, state.to_bytes())
                queue.add(trials)
            else:
                for trial, result in executor.wait():
                    queue.end_attempt(trial, result)
            for trial in queue.in_order():
                strategy.tell([trial])
                state.tell_pruner(trial, ends_batch=queue.ends_batch(trial))
                store.finish(trial, state.to_bytes(), queue.attempts(trial))
                queue.remove(trial)
                self._announce_end(trial)

    def _may_ask(self) -> bool:
        hours = self._budget.hours
        is_in_time = hours is None or self._state.worked_s() < hours * 3600
        return self._queue.wants_more() and len(self._store) < self._budget.trials and is_in_time

    def _announce(self, trial: Trial) -> None:
        for listener in self._listeners:
            listener.on_trial_start(trial)

    def _on_epoch(self, trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
        self._state.note_epoch(trial, epoch, epochs, score)
        for listener in self._listeners:
            listener.on_epoch(trial, epoch, epochs, score)

    def _announce_end(self, trial: Trial) -> None:
        self._ended.append(trial)
        for listener in self._listeners:
            listener.on_trial_end(trial, self._ended, self._strategy.diagnostics())
        self._failures_in_a_row = self._failures_in_a_row + 1 if trial.state is TrialState.FAILED else 0
        if self._failures_in_a_row >= self._max_failures:
            raise RunError(f"{self._failures_in_a_row} candidates failed in a row; the last: {trial.reason}")
