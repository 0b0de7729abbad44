"""The bookkeeping of a search: which trial to evaluate next, which has finished, and whose turn it is to be told."""

import logging
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress

from vseg_nas.errors import UserError
from vseg_nas.nas.executors.executor import Died, Failure
from vseg_nas.nas.store import TrialStore
from vseg_nas.nas.trial import Evaluation, FailureKind, Trial

MAX_ATTEMPTS = 3
"""How often a trial is begun before it has failed, or is abandoned: a kill may come by chance, three hardly do."""

logger = logging.getLogger(__name__)


class TrialQueue:
    """The open trials of a search: those that were asked for and have not been told to the strategy.

    An open trial is waiting, running, or finished. Trials of a batch are told in the order of asking, whichever of them
    finishes first, and of two equal cells the second waits for the score of the first. So the history of a search does
    not depend on how many trials run side by side, nor on how long each takes. An asynchronous search tells trials as
    they finish.

    Every attempt at a trial is counted in the store before it starts, so that a kill of the whole process leaves it
    counted. It is released, which means that it does not count, when the trial has finished and only waits for its
    turn, or when an exception or Ctrl-C ends the session. Otherwise:

    * A trial whose own process has died in `MAX_ATTEMPTS` attempts has failed.
    * A trial that was running in `MAX_ATTEMPTS` sessions that were killed is abandoned; it could end every session.
    * A trial with one attempt left is *quarantined*: it runs alone, since nobody knows which of several trials made the
      system kill the process.

    Args:
        store: Trial store of the run; its unfinished trials are the first to wait.
        asynchronous: Whether trials are asked for one at a time and told as they finish, instead of in batches.
        failed_reward: Reward of a failed trial; with None the strategy gets no reward from it.
    """

    def __init__(self, store: TrialStore, *, asynchronous: bool = False, failed_reward: float | None = None) -> None:
        self._store = store
        self._asynchronous = asynchronous
        self._failed_reward = failed_reward
        self._waiting = store.unfinished()
        self._running: dict[int, Trial] = {}
        self._finished: dict[int, Trial] = {}
        self._open = {trial.id: trial for trial in self._waiting}
        self._attempts: dict[int, int] = {}  # at the trials that have started in this session
        self._quarantined = {trial.id for trial in self._waiting if store.attempts(trial) == MAX_ATTEMPTS - 1}

    def __bool__(self) -> bool:
        """Returns whether any trial is open."""
        return bool(self._open)

    def add(self, trials: Iterable[Trial]) -> None:
        """Takes trials that have just been asked for."""
        for trial in trials:
            self._open[trial.id] = trial
            self._waiting.append(trial)

    def wants_more(self) -> bool:
        """Returns whether to ask for cells now.

        A search in batches asks when no trial is open, an asynchronous one while fewer open trials wait than do not.
        Trials wait for an equal cell: a strategy that proposes one cell again and again would otherwise use the whole
        budget up before it learns the score.
        """
        return not self._open or (self._asynchronous and 2 * len(self._waiting) < len(self._open))

    def next(self) -> Trial | None:
        """Takes out the first waiting trial that may start; None if there is none before another one has finished."""
        trial = next(filter(self._may_start, self._waiting), None)
        if trial is not None:
            self._waiting.remove(trial)
        return trial

    def _may_start(self, trial: Trial) -> bool:
        key = trial.genotype.key
        if any(other.id < trial.id and other.genotype.key == key for other in self._open.values()):
            return False  # its evaluation may be reused
        runs_alone = trial.id in self._quarantined or not self._quarantined.isdisjoint(self._running)
        return not (runs_alone and self._running)

    def is_exhausted(self, trial: Trial) -> bool:
        """Returns whether every attempt at a trial has been used up, by kills of the whole process."""
        return self._store.attempts(trial) >= MAX_ATTEMPTS

    def start(self, trial: Trial) -> None:
        """Counts an attempt at a trial, which runs from now on."""
        self._attempts[trial.id] = self._store.attempts(trial) + 1
        self._running[trial.id] = trial
        self._store.set_attempts(trial, self._attempts[trial.id])

    def attempts(self, trial: Trial) -> int | None:
        """Attempts at a trial, with the one that finished it; None if it did not start in this session."""
        return self._attempts.get(trial.id)

    def end_attempt(self, trial: Trial, result: Evaluation | Failure | Died) -> None:
        """Takes the result of an attempt: the trial has finished, or waits again if its process has died."""
        match result:
            case Evaluation():
                self.finish(trial.completed(result))
            case Failure():
                self.finish(trial.failed(str(result), self._failed_reward, result.kind))
            case Died():
                attempts = self._attempts[trial.id]
                logger.warning("trial %d: %s in attempt %d of %d", trial.id, result, attempts, MAX_ATTEMPTS)
                if attempts < MAX_ATTEMPTS:
                    self._waiting.insert(0, trial)
                else:
                    reason = f"{FailureKind.KILLED}: {result}, in the last of {attempts} attempts"
                    self.finish(trial.failed(reason, self._failed_reward, FailureKind.KILLED))
        # A trial whose turn it is gets stored at once, with this attempt. For any other one, a later kill of the whole
        # process has nothing to do with it.
        if trial.id in self._finished and not self._is_turn_of(trial):
            self._release(trial)
        self._running.pop(trial.id)

    def finish(self, trial: Trial) -> None:
        """Takes a trial in its final state; `in_order` has it when its turn has come."""
        self._finished[trial.id] = trial

    def abandon(self, trial: Trial) -> None:
        """Gives a trial up whose attempts have been used up."""
        reason = f"{MAX_ATTEMPTS} attempts, and each ended with the whole process (a kill, preemption, power)"
        logger.warning("trial %d is abandoned: %s", trial.id, reason)
        self.finish(trial.abandoned(reason))

    def in_order(self) -> Iterator[Trial]:
        """Yields finished trials whose turn it is; each is to be removed before the next one is drawn."""
        while trial := next(filter(self._is_turn_of, self._finished.values()), None):
            yield trial

    def _is_turn_of(self, trial: Trial) -> bool:
        return self._asynchronous or trial.id == next(iter(self._open))

    def ends_batch(self, trial: Trial) -> bool:
        """Returns whether no other trial of its batch is open; an asynchronous search has batches of one."""
        return self._asynchronous or self._open.keys() == {trial.id}

    def remove(self, trial: Trial) -> None:
        """Forgets a trial that has been told and is in the store."""
        del self._finished[trial.id], self._open[trial.id]

    @contextmanager
    def released_on_error(self) -> Iterator[None]:
        """Releases the attempts under way if the session ends by an exception: what raises did not kill the process."""
        try:
            yield
        except BaseException:
            with suppress(UserError):  # where a full disk ended the search, it can prevent this, too
                for trial_id in self._attempts.keys() & {*self._running, *self._finished}:
                    self._release(self._open[trial_id])
            raise

    def _release(self, trial: Trial) -> None:
        self._store.set_attempts(trial, self._attempts[trial.id] - 1)
