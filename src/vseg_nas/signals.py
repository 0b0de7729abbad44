"""Ctrl-C, signals of schedulers, a closed terminal: the first ends a command at a safe point, the second at once."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
"""Exit statuses, as a shell gives them; also of SIGUSR1, by which Slurm warns before it kills."""
HUNG_UP = 128 + signal.SIGHUP
"""Exit status where the terminal was closed."""
PIPE_CLOSED = 128 + signal.SIGPIPE
"""Exit status where nobody reads what a command prints any more, as after ``| head``."""

IGNORED_SIGNALS = (signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
"""Terminals and schedulers send these to the whole job; what to do about them one process decides for its children."""
_STOPPING = (*IGNORED_SIGNALS, signal.SIGTERM)


class Terminated(BaseException):
    """A scheduler wants the process gone, or its terminal is.

    Nobody's fault, so no `Exception`: what ran is not done, and runs again.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = status_of(number)


def status_of(number: int) -> int:
    """The exit status of a command that a signal has stopped."""
    return {signal.SIGINT: INTERRUPTED, signal.SIGHUP: HUNG_UP}.get(signal.Signals(number), TERMINATED)


class _Stop:
    """Raises in the main thread, which leaves all files and transactions whole; a second signal ends the process.

    A closed terminal is told by the kernel and by the shell: the second SIGHUP means nothing new. A forked process,
    such as a loader of clips, leaves it to its parent what becomes of the signals of the whole job.
    """

    def __init__(self) -> None:
        self.raised: BaseException | None = None
        self._process = os.getpid()

    def __call__(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            if number == signal.SIGTERM:
                os._exit(TERMINATED)
        elif self.raised is None:
            self.raised = KeyboardInterrupt() if number == signal.SIGINT else Terminated(number)
            raise self.raised
        elif number != signal.SIGHUP:
            with suppress(OSError):
                os.write(sys.stderr.fileno(), b"error: stopped at once\n")
            os._exit(status_of(number))


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
    """Within, the first SIGINT raises KeyboardInterrupt; the first SIGTERM, SIGUSR1 or SIGHUP raises `Terminated`.

    SIGHUP stays ignored where it is, as under `nohup`.
    What leaves after that is one of the two: matplotlib's C++ makes a ValueError of whatever its callbacks raise.
    """
    stop = _Stop()
    ignored = {signal.SIGHUP} if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN else set()
    before = {number: signal.signal(number, stop) for number in _STOPPING if number not in ignored}
    try:
        yield
    except Exception as error:
        if stop.raised is not None:
            raise stop.raised from error
        raise
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
