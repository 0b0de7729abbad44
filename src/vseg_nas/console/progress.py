"""Shows the progress of everything but a search: epochs of a fit, items of a long loop, frames of a video.

Without a terminal it prints plain lines, or nothing.
"""

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType
from typing import Protocol, Self, TypeVar

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from vseg_nas.console.lines import print_line
from vseg_nas.results.numbers import duration

Item = TypeVar("Item")
_LINE_S = 10.0
"""Seconds between two lines without a terminal."""


class Track(Protocol):
    """Yields items while it shows how many of them are done."""

    def __call__(self, items: Sequence[Item], description: str) -> Iterable[Item]:
        """Returns the items unchanged; the description says what is being done, such as ``reading searches``."""
        ...


def untracked(items: Sequence[Item], description: str) -> Iterable[Item]:
    """Is a `Track` that shows nothing."""
    return items


def tracked(console: Console) -> Track:
    """Returns a `Track` that shows the same as `track`, and nothing if there are no items."""

    def shown(items: Sequence[Item], description: str) -> Iterable[Item]:
        return track(items, description, len(items), console) if items else items

    return shown


def track_files(console: Console) -> Callable[[Sequence[Item]], Iterable[Item]]:
    """Returns a function that yields files and shows the progress of reading them."""
    return lambda items: tracked(console)(items, "reading files")


def track(iterable: Iterable[Item], description: str, total: int, console: Console) -> Iterator[Item]:
    """Yields items beside a progress bar; without a terminal, it prints a line every ten seconds.

    Args:
        iterable: The items; they are consumed lazily.
        description: The name of the work, such as ``caching features``.
        total: The number of items that there will be.
        console: The console to show it on.

    Yields:
        The items, unchanged.
    """
    started = time.monotonic()
    if console.is_interactive:
        with bar(console) as progress:
            task = progress.add_task(description, total=total, values="")
            for item in iterable:
                yield item
                progress.advance(task)
        return
    print_line(console, f"{description}: {total} items")
    shown = started
    for done, item in enumerate(iterable, 1):
        yield item
        if done < total and time.monotonic() - shown >= _LINE_S:
            shown = time.monotonic()
            print_line(console, f"{description}: {done} of {total}")
    print_line(console, f"{description}: done in {duration(time.monotonic() - started)}")


@contextmanager
def steps(description: str, total: int, console: Console) -> Iterator[Callable[[], None]]:
    """Yields a function to call after each of `total` steps, which advances a bar on a terminal."""
    if not console.is_interactive:
        yield lambda: None
        return
    with bar(console) as progress:
        task = progress.add_task(description, total=total, values="")
        yield lambda: progress.advance(task)


class FitView:
    """A context manager that shows a fit epoch by epoch: a bar on a terminal, lines elsewhere.

    Args:
        description: The name of the training.
        console: The console to show it on.
    """

    def __init__(self, description: str, console: Console) -> None:
        self._description = description
        self._console = console
        self._progress = bar(console) if console.is_interactive else None
        self._task = self._progress.add_task(description, total=None, values="") if self._progress else None

    def __enter__(self) -> Self:
        """Starts the bar."""
        if self._progress:
            self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stops the bar and leaves its last state on the terminal."""
        if self._progress:
            self._progress.stop()

    def on_epoch(self, epoch: int, epochs: int, metrics: Mapping[str, float]) -> None:
        """Shows that `epoch` (1-based) of `epochs` has ended with these metrics."""
        values = "  ".join(f"{name} {value:.4g}" for name, value in metrics.items())
        if self._progress is None or self._task is None:
            print_line(self._console, f"{self._description}: epoch {epoch}/{epochs}  {values}")
        else:
            self._progress.update(self._task, completed=epoch, total=epochs, values=values)


def bar(console: Console) -> Progress:
    """Returns a progress bar with count, times and a text for each task."""
    return Progress(
        TextColumn("[bold]{task.description}", markup=True),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[values]}", markup=False),
        console=console,
        refresh_per_second=4,
    )


_WINDOW = 50  # number of frames that the shown rate is averaged over


@contextmanager
def frames_view(total: int | None, console: Console) -> Iterator[Callable[[], None]]:
    """Yields a function to call after each frame; on a terminal, it shows the frames per second.

    Args:
        total: The number of frames; None if it is not known.
        console: The console to show it on.
    """
    if not console.is_interactive:
        yield lambda: None
        return
    times: deque[float] = deque(maxlen=_WINDOW)
    with bar(console) as progress:
        task = progress.add_task("labelling", total=total, values="")

        def tick() -> None:
            times.append(time.monotonic())
            span = times[-1] - times[0]
            rate = f"{(len(times) - 1) / span:.1f} frames/s" if span else ""
            progress.update(task, advance=1, values=rate)

        yield tick
