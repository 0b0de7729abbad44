"""A clock that stands while this process is suspended, by Ctrl-Z or SIGSTOP, a frozen container or virtual machine.

Deadlines and budgets are measured with it: time in which nothing could run is nobody's. (While a machine sleeps, its
lid closed, Linux stops the monotonic clock already.)
"""

import os
import threading
import time

_STEP_S = 0.1
_MOST_S = 1.0
"""The most that a step counts for: one that took longer was a suspension, or a machine that hardly ran."""


class _Clock:
    """Advances in small steps, by a thread of its own: whoever reads it may compute for long in between."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seconds = 0.0
        self._last = time.monotonic()
        self._is_ticking = False
        os.register_at_fork(after_in_child=self._start_anew)

    def read(self) -> float:
        """Advances it and says where it stands."""
        with self._lock:
            if not self._is_ticking:
                self._is_ticking = True
                self._last = time.monotonic()
                threading.Thread(target=self._tick, name="clock", daemon=True).start()
            now = time.monotonic()
            self._seconds += min(now - self._last, _MOST_S)
            self._last = now
            return self._seconds

    def _tick(self) -> None:
        never = threading.Event()
        while not never.wait(_STEP_S):
            self.read()

    def _start_anew(self) -> None:
        """In a forked process, which has no thread but the one that forked, and perhaps a lock that is held."""
        self._lock = threading.Lock()
        self._is_ticking = False


_clock = _Clock()


def working_s() -> float:
    """Seconds, from an arbitrary moment on, in which this process was not suspended."""
    return _clock.read()
