"""Progress over the frames of a video, with frames a second; silent off a terminal."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console

from vseg_nas.reporting.progress import bar

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
