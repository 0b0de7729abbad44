"""Ctrl-C, signals of schedulers and a closed terminal: the first stops a command safely, the second at once."""

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

INTERRUPTED = 128 + signal.SIGINT
TERMINATED = 128 + signal.SIGTERM
"""Exit status after SIGTERM, and after SIGUSR1, by which Slurm announces that it will kill the job."""
HUNG_UP = 128 + signal.SIGHUP
"""Exit status if the terminal was closed."""
PIPE_CLOSED = 128 + signal.SIGPIPE
"""Exit status if nobody reads the output of the command any more, as after ``| head``."""

IGNORED_SIGNALS = (signal.SIGINT, signal.SIGUSR1, signal.SIGHUP)
"""Signals that terminals and schedulers send to a whole job. The parent acts on them, its child processes do not."""
_STOPPING = (*IGNORED_SIGNALS, signal.SIGTERM)


class Terminated(BaseException):
    """A scheduler wants this process to end, or its terminal was closed.

    This is nobody's fault, so it is no `Exception`: the work that was interrupted is done again by a resumed run.
    """

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.status = status_of(number)


def status_of(number: int) -> int:
    """Returns the exit status of a command that a signal has stopped."""
    return {signal.SIGINT: INTERRUPTED, signal.SIGHUP: HUNG_UP}.get(signal.Signals(number), TERMINATED)


class _Stop:
    """A signal handler that raises in the main thread, so that all files and transactions stay whole.

    A second signal ends the process at once. A second SIGHUP does not: the kernel and the shell both send one when a
    terminal is closed. A forked process, such as a data-loading worker, does nothing but end at a SIGTERM; its parent
    acts on the signals of the job.
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
def signals_deferred() -> Iterator[None]:
    """Delays signal handlers until the end of the block.

    An exception that a handler raised inside Ray's C code would come out as a SystemError.
    """
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
    """Makes the first SIGINT within the block a KeyboardInterrupt, and another first signal `Terminated`.

    A SIGHUP that is ignored already, as under `nohup`, stays ignored.
    The block raises one of the two even if a library has replaced it: matplotlib's C++ code turns any exception into a
    ValueError.
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
