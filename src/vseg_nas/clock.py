"""A clock that stops while this process is suspended: by Ctrl-Z, SIGSTOP, a frozen container or a virtual machine.

Deadlines and budgets are measured with it, so that time in which nothing could run is not counted. (While a machine
sleeps with its lid closed, Linux already stops the monotonic clock.)
"""

import os
import threading
import time

_STEP_S = 0.1
_LONGEST_STEP_S = 1.0
"""The longest time that a step counts for. A step that took longer was a suspension, or the machine hardly ran."""


class _Clock:
    """A clock that a thread of its own advances in small steps, since its readers may compute for long in between."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds = 0.0
        self._last = time.monotonic()
        self._is_ticking = False
        os.register_at_fork(after_in_child=self._restart_in_child)

    def read(self) -> float:
        """Advances the clock and returns its time in seconds."""
        with self._lock:
            if not self._is_ticking:
                self._is_ticking = True
                self._last = time.monotonic()
                threading.Thread(target=self._tick, name="clock", daemon=True).start()
            now = time.monotonic()
            self._seconds += min(now - self._last, _LONGEST_STEP_S)
            self._last = now
            return self._seconds

    def _tick(self) -> None:
        never = threading.Event()
        while not never.wait(_STEP_S):
            self.read()

    def _restart_in_child(self) -> None:
        """Makes the clock usable in a forked child, which lacks the ticking thread and may inherit a locked lock."""
        self._lock = threading.Lock()
        self._is_ticking = False


_clock = _Clock()


def working_s() -> float:
    """Returns the seconds since an arbitrary moment in which this process was not suspended."""
    return _clock.read()
