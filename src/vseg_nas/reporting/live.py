"""The search while it runs: a live view on a terminal, one plain line per finished trial anywhere else."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich.console import Console, RenderableType
from rich.live import Live

from vseg_nas.nas.trial import Trial
from vseg_nas.reporting.screen import Running, Tally, screen, sentence

if TYPE_CHECKING:
    from vseg_nas.nas.listener import Budget

REFRESHES_PER_SECOND = 2


class LiveView:
    """A search listener for the terminal, and a context manager: leaving it restores the terminal.

    Args:
        console: Where to show the search; a terminal gets the live view, anything else plain lines.
        clock: Seconds, monotonic.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._started = clock()
        self._before = 0  # trials that earlier processes had finished
        self._deadline_s: float | None = None
        self._tally = Tally((), 0)
        self._now = self._tally.standing()
        self._running: dict[int, Running] = {}
        self._live: Live | None = None

    def __enter__(self) -> Self:
        """Returns the view itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Leaves the last state of the view on the terminal."""
        self._stop()

    def on_start(self, trials: Sequence[Trial], budget: "Budget") -> None:
        """Begins to show a search, of which `trials` have ended already."""
        self._tally = Tally(trials, budget.trials)
        self._now = self._tally.standing()
        self._before, self._started = self._now.done, self._clock()
        self._deadline_s = None if budget.hours is None else budget.hours * 3600
        if self._console.is_interactive:
            self._live = Live(
                console=self._console, get_renderable=self._screen, refresh_per_second=REFRESHES_PER_SECOND
            )
            self._live.start(refresh=True)
        elif self._before:
            self._line(f"search: {self._before} of {budget.trials} trials had ended before")

    def on_trial_start(self, trial: Trial) -> None:
        """Shows a trial as running."""
        self._running[trial.id] = Running(trial)

    def on_epoch(self, trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
        """Shows how far a running trial is; a score stays until a newer one comes."""
        running = self._running.get(trial.id, Running(trial))
        latest = running.score if score is None else score
        self._running[trial.id] = replace(running, epoch=epoch, epochs=epochs, score=latest)

    def on_trial_end(self, trial: Trial, trials: Sequence[Trial], diagnostics: dict[str, float]) -> None:
        """Shows how a trial ended."""
        self._running.pop(trial.id, None)
        self._tally.add(trial, trials)
        self._now = self._tally.standing()
        if self._live is None:
            self._line(sentence(trial, self._now, self.seconds_left()))

    def on_end(self, trials: Sequence[Trial]) -> None:
        """Ends the view."""
        self._running.clear()
        self._stop()

    def seconds_left(self) -> float | None:
        """An estimate from the pace of this process, running trials counted by their epochs.

        Returns:
            None before there is a pace and once there is nothing left to do.
        """
        under_way = sum(r.epoch / r.epochs for r in list(self._running.values()) if r.epochs)
        done = self._now.done - self._before + under_way
        left = self._now.budget - self._now.done - under_way
        if done <= 0 or left <= 0:
            return None
        elapsed = self._clock() - self._started
        pace = elapsed / done * left
        return pace if self._deadline_s is None else max(0.0, min(pace, self._deadline_s - elapsed))

    def _screen(self) -> RenderableType:
        """The view as it is now; called from the refreshing thread, so it only reads."""
        elapsed = self._clock() - self._started
        return screen(self._now, list(self._running.values()), elapsed, self.seconds_left())

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None

    def _line(self, text: str) -> None:
        self._console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)
