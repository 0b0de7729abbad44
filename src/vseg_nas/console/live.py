"""Shows a search while it runs: a live view on a terminal, one plain line per finished trial anywhere else."""

import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from types import TracebackType
from typing import TYPE_CHECKING, Self

from rich import box
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from vseg_nas.console.lines import print_line
from vseg_nas.console.search_progress import Running, SearchProgress, TrialCounter
from vseg_nas.nas.history import Outcome, outcome
from vseg_nas.nas.trial import Trial
from vseg_nas.results.numbers import duration, quantity

if TYPE_CHECKING:
    from vseg_nas.nas.settings import Budget

REFRESHES_PER_SECOND = 2


class LiveView:
    """A search listener for the terminal, and a context manager: leaving it restores the terminal.

    Args:
        console: The console that shows the search; a terminal gets the live view, anything else plain lines.
        clock: Returns the time in seconds; it must never go back.
    """

    def __init__(self, console: Console, clock: Callable[[], float] = time.monotonic) -> None:
        self._console = console
        self._clock = clock
        self._started = clock()
        self._before = 0  # trials that earlier processes had finished
        self._deadline_s: float | None = None
        self._counter = TrialCounter((), 0)
        self._now = self._counter.progress()
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
        self._counter = TrialCounter(trials, budget.trials)
        self._now = self._counter.progress()
        self._before, self._started = self._now.done, self._clock()
        self._deadline_s = None if budget.hours is None else budget.hours * 3600
        if self._console.is_interactive:
            self._live = Live(
                console=self._console, get_renderable=self._screen, refresh_per_second=REFRESHES_PER_SECOND
            )
            self._live.start(refresh=True)
        elif self._before:
            print_line(self._console, f"search: {self._before} of {budget.trials} trials had ended before")

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
        self._counter.add(trial, trials)
        self._now = self._counter.progress()
        if self._live is None:
            print_line(self._console, sentence(trial, self._now, self.seconds_left()))

    def on_end(self, trials: Sequence[Trial]) -> None:
        """Ends the view."""
        self._running.clear()
        self._stop()

    def seconds_left(self) -> float | None:
        """Estimates the time left from the pace of this process; running trials count by their epochs.

        Returns:
            Seconds; None before there is a pace, and when nothing is left to do.
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
        """Returns the view as it is now. The refreshing thread calls this, so it only reads."""
        elapsed = self._clock() - self._started
        return screen(self._now, list(self._running.values()), elapsed, self.seconds_left())

    def _stop(self) -> None:
        if self._live is not None:
            self._live.stop()
            self._live = None


BAR_WIDTH = 30
COLOURS = {
    Outcome.COMPLETE: "green",
    Outcome.STOPPED: "yellow",
    Outcome.REUSED: "cyan",
    Outcome.FAILED: "red",
    Outcome.ABANDONED: "magenta",
}


def sentence(trial: Trial, now: SearchProgress, left_s: float | None) -> str:
    """Returns one plain line about a trial that has just ended."""
    head = f"[{now.done}/{now.budget}] trial {trial.id} {outcome(trial)}: {_result(trial)}"
    return "  ".join((head, *now.marks, *_left(left_s)))


def screen(now: SearchProgress, running: Sequence[Running], elapsed_s: float, left_s: float | None) -> RenderableType:
    """Returns the whole live view."""
    head = Table.grid(padding=(0, 2))
    bar = ProgressBar(total=max(now.budget, 1), completed=now.done, width=BAR_WIDTH)
    times = "  ".join((f"{duration(elapsed_s)} elapsed", *_left(left_s)))
    head.add_row(Text("search", "bold"), bar, f"{now.done}/{now.budget} trials", times)
    counts = Text(f"{now.done} tried", "bold")
    for kind, count in now.counts.items():
        counts.append(f"  {count} {kind}", COLOURS[kind] if count else "dim")
    rows: list[RenderableType] = [head, counts, Text("  ".join(now.marks), "bold")]
    rows += map(_running_line, running)
    return Group(*rows, _newest_table(now.newest)) if now.newest else Group(*rows)


def _left(left_s: float | None) -> tuple[str, ...]:
    return () if left_s is None else (f"{duration(left_s)} left",)


def _result(trial: Trial) -> str:
    """Returns the result of an ended trial in one line."""
    e = trial.evaluation
    if e is None:
        return " ".join((trial.reason or "no reason recorded").split())
    sizes = f"{quantity(e.parameters)} params  {quantity(e.macs)} MACs"
    origin = duration(e.seconds) if trial.reused_from is None else f"as trial {trial.reused_from}"
    return f"score {e.score:.4f}  mIoU {e.miou:.4f}  {sizes}  {origin}"


def _running_line(running: Running) -> Text:
    line = Text(no_wrap=True, overflow="ellipsis")
    line.append(f"> trial {running.trial.id}", "bold blue")
    line.append(f"  epoch {running.epoch}/{running.epochs}" if running.epochs else "  preparing")
    if running.score is not None:
        line.append(f"  score {running.score:.4f}")
    return line.append(f"  {running.trial.genotype.expression()}", "dim")


def _newest_table(trials: Sequence[Trial]) -> Table:
    table = Table(box=box.SIMPLE_HEAD, collapse_padding=True)
    table.add_column("trial", justify="right")
    table.add_column("outcome", no_wrap=True)
    table.add_column("result", no_wrap=True, overflow="ellipsis")
    for trial in reversed(trials):
        kind = outcome(trial)
        table.add_row(str(trial.id), Text(kind, COLOURS[kind]), Text(_result(trial)))
    return table
