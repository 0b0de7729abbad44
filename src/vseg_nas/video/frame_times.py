"""Times that rise from frame to frame, from the time stamps that files have."""

from fractions import Fraction

_BACK = Fraction(1, 10)
"""Seconds: stamps that fall by less are out of order, those that fall by more begin a new count (FFmpeg's limit)."""


class FrameTimes:
    """Time of each frame since the first, in seconds.

    Where the stamps begin a new count, as they do where two files were joined, the next frame follows a frame's time
    after the last one, and so it does where a stamp is missing or repeated.

    Args:
        rate: frames a second.
        tick: times are whole multiples of it, in seconds.
        longest: stamps that rise by more seconds begin a new count too.
    """

    def __init__(self, rate: Fraction, tick: Fraction, longest: Fraction) -> None:
        self._period = 1 / rate
        self._tick = tick
        self._longest = max(longest, 2 * self._period)
        self._time: Fraction | None = None  # not rounded, so that errors do not add up
        self._ticks = -1
        self._latest: Fraction | None = None
        self._offset = Fraction(0)

    def after(self, stamp: Fraction | None) -> Fraction:
        """The time of the next frame.

        Args:
            stamp: in seconds on any count; None: there is none.
        """
        self._time = self._next(stamp)
        self._ticks = max(round(self._time / self._tick), self._ticks + 1)
        return self._ticks * self._tick

    def _next(self, stamp: Fraction | None) -> Fraction:
        follows = Fraction(0) if self._time is None else self._time + self._period
        if stamp is None or stamp == self._latest:
            return follows
        latest = self._latest
        if latest is None or not latest - _BACK <= stamp <= latest + self._longest:
            self._offset, self._latest = follows - stamp, stamp
            return follows
        self._latest = max(stamp, latest)
        time = stamp + self._offset
        if self._time is None or time > self._time:
            return time
        return self._time + self._period / 2  # catches up with the stamps without crowding frames
