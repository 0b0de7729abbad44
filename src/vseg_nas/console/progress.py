"""Progress of steps outside the search: epochs of a fit, items of a long loop, frames of a video.

Off a terminal there are plain lines, or nothing.
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

from vseg_nas.results.numbers import duration

Item = TypeVar("Item")
_LINE_S = 10.0
"""Seconds between lines off a terminal."""


class Track(Protocol):
    """Yields items while it shows how many of them are done."""

    def __call__(self, items: Sequence[Item], description: str) -> Iterable[Item]:
        """The items, unchanged; the description says what is being done, such as `reading searches`."""
        ...


def untracked(items: Sequence[Item], description: str) -> Iterable[Item]:
    """A `Track` that shows nothing."""
    return items


def tracked(console: Console) -> Track:
    """A `Track` that shows a bar on a terminal and lines elsewhere, as `track`; nothing where there are no items."""

    def shown(items: Sequence[Item], description: str) -> Iterable[Item]:
        return track(items, description, len(items), console) if items else items

    return shown


def hashing(console: Console) -> Callable[[Sequence[Item]], Iterable[Item]]:
    """Shows how far reading files for their digests is; nothing where all are known."""
    return lambda items: tracked(console)(items, "reading files")


def track(iterable: Iterable[Item], description: str, total: int, console: Console) -> Iterator[Item]:
    """Yields the items of `iterable` beside a progress bar; off a terminal, a line is printed every ten seconds.

    Args:
        iterable: Consumed lazily.
        description: What is being done, such as `caching features`.
        total: How many items there will be.
        console: Where to show it.

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
    _line(console, f"{description}: {total} items")
    shown = started
    for done, item in enumerate(iterable, 1):
        yield item
        if done < total and time.monotonic() - shown >= _LINE_S:
            shown = time.monotonic()
            _line(console, f"{description}: {done} of {total}")
    _line(console, f"{description}: done in {duration(time.monotonic() - started)}")


@contextmanager
def steps(description: str, total: int, console: Console) -> Iterator[Callable[[], None]]:
    """Yields a function to be called after each of `total` steps; a bar on a terminal, silent elsewhere."""
    if not console.is_interactive:
        yield lambda: None
        return
    with bar(console) as progress:
        task = progress.add_task(description, total=total, values="")
        yield lambda: progress.advance(task)


class FitView:
    """Shows a fit epoch by epoch, a bar on a terminal, lines elsewhere. Use it as a context manager.

    Args:
        description: What is being fitted.
        console: Where to show it.
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
            _line(self._console, f"{self._description}: epoch {epoch}/{epochs}  {values}")
        else:
            self._progress.update(self._task, completed=epoch, total=epochs, values=values)


def bar(console: Console) -> Progress:
    """A bar with count, times and a text of the task."""
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


def _line(console: Console, text: str) -> None:
    console.print(text, markup=False, highlight=False, emoji=False, soft_wrap=True)


_WINDOW = 50  # frames that the shown rate is averaged over


@contextmanager
def frames_view(total: int | None, console: Console) -> Iterator[Callable[[], None]]:
    """Yields a function to be called after each frame.

    Args:
        total: frames there will be, if that is known.
        console: where to show it.
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
