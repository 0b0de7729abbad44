"""Frame times that rise strictly, computed from the time stamps of a file, which may be missing, repeated or jump."""

from fractions import Fraction

_BACK = Fraction(1, 10)
"""Limit in seconds, as in FFmpeg: stamps that fall by less are out of order, stamps that fall by more start over."""


class FrameTimes:
    """Computes the time of each frame since the first one.

    Stamps start over where two files were joined. The next frame then follows one frame period after the last one. The
    same holds where a stamp is missing or repeated.

    Args:
        rate: Frames per second.
        tick: The unit of time in seconds; all times are integer multiples of it.
        longest: The time in seconds by which stamps may rise; those that rise by more start over too.
    """

    def __init__(self, rate: Fraction, tick: Fraction, longest: Fraction) -> None:
        self._period = 1 / rate
        self._tick = tick
        self._longest = max(longest, 2 * self._period)
        self._time: Fraction | None = None  # kept without rounding, so that errors do not add up
        self._ticks = -1
        self._latest: Fraction | None = None
        self._offset = Fraction(0)

    def after(self, stamp: Fraction | None) -> Fraction:
        """Returns the time of the next frame in seconds.

        Args:
            stamp: Its time stamp in seconds, relative to any moment; None if it has none.
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
        return self._time + self._period / 2  # half a period, to fall back in step without two frames at one time
