"""Ctrl-C and the signals of schedulers: the first ends a command at a safe point, the second at once."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
"""Exit statuses, as a shell gives them; also of SIGUSR1, by which Slurm warns before it kills."""


_STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)


class Terminated(BaseException):
    """A scheduler wants the process gone. Nobody's fault, so no `Exception`: what ran is not done, and runs again."""


class _Stop:
    """Raises in the main thread, which leaves all files and transactions whole; a second signal ends the process."""

    def __init__(self) -> None:
        self.raised: BaseException | None = None

    def __call__(self, number: int, frame: FrameType | None) -> None:
        interrupted = number == signal.SIGINT
        if self.raised is not None:
            os.write(sys.stderr.fileno(), b"error: stopped at once\n")
            os._exit(INTERRUPTED if interrupted else TERMINATED)
        self.raised = KeyboardInterrupt() if interrupted else Terminated(signal.Signals(number).name)
        raise self.raised


@contextmanager
def deferred() -> Iterator[None]:
    """Within, handlers do not run, but after it: what one raises in Ray's C code comes out as a SystemError."""
    came: list[int] = []

    def note(number: int, frame: FrameType | None) -> None:
        came.append(number)

    handlers = {number: signal.getsignal(number) for number in _STOPPING}
    ours = {number: handler for number, handler in handlers.items() if callable(handler)}
    for number in ours:
        signal.signal(number, note)
    try:
        yield
    finally:
        for number, handler in ours.items():
            signal.signal(number, handler)
        for signalled in came:
            ours[signal.Signals(signalled)](signalled, None)


@contextmanager
def stopping() -> Iterator[None]:
    """Within, the first SIGINT raises KeyboardInterrupt, and the first SIGTERM or SIGUSR1 raises `Terminated`.

    What leaves after that is one of the two: matplotlib's C++ makes a ValueError of whatever its callbacks raise.
    """
    stop = _Stop()
    before = {number: signal.signal(number, stop) for number in _STOPPING}
    try:
        yield
    except Exception as error:
        if stop.raised is not None:
            raise stop.raised from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
