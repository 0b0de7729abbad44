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
def stopping() -> Iterator[None]:
    """Within, the first SIGINT raises KeyboardInterrupt, and the first SIGTERM or SIGUSR1 raises `Terminated`.

    What leaves after that is one of the two: matplotlib's C++ makes a ValueError of whatever its callbacks raise.
    """
    stop = _Stop()
    before = {number: signal.signal(number, stop) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)}
    try:
        yield
    except Exception as error:
        if stop.raised is not None:
            raise stop.raised from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
