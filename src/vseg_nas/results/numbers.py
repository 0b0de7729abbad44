"""Numbers in the form in which people read them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Self

from vseg_nas.results.scores import Quartiles

MISSING = "-"
EN_DASH = "\N{EN DASH}"
COUNTS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def quantity(number: int) -> str:
    """Returns a number with three digits and a decimal prefix, such as ``1.23M`` for 1_234_567."""
    for size, prefix in COUNTS:
        if number >= 0.9995 * size:  # 999,500 would round to 1000k
            value = number / size
            return f"{value:.{_digits_of_three(value)}f}{prefix}"
    return str(number)


def _digits_of_three(value: float) -> int:
    """Returns how many digits after the point show three digits of a number below 1000, as it is rounded."""
    return 2 if value < 9.995 else 1 if value < 99.95 else 0


def duration(seconds: float) -> str:
    """Returns a duration such as ``4.2 s``, ``12 min 05 s`` or ``3 h 07 min``."""
    if seconds < 9.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


@dataclass(frozen=True)
class Number:
    """A measured value with the spread of its measurements, if there is one: a deviation or quartiles.

    Attributes:
        value: The mean or the median.
        digits: The number of digits that are shown after the point; CSV files have all digits.
        std: The sample standard deviation.
        quartiles: The lower and the upper quartile.
    """

    value: float
    digits: int
    std: float | None = None
    quartiles: tuple[float, float] | None = None

    @classmethod
    def over(cls, values: Sequence[float], digits: int) -> Self:
        """Returns the mean of some values and, if there are several, their sample standard deviation."""
        return cls(fmean(values), digits, std=stdev(values) if len(values) > 1 else None)

    @property
    def rounded(self) -> str:
        """The value as it is shown."""
        return self._text(self.value)

    @property
    def spread(self) -> str:
        """The spread as it is shown; empty if there is none."""
        if self.std is not None:
            return f"± {self._text(self.std)}"
        return f"({EN_DASH.join(map(self._text, self.quartiles))})" if self.quartiles else ""

    def __str__(self) -> str:
        return f"{self.rounded} {self.spread}".rstrip()

    def _text(self, value: float) -> str:
        return f"{value:.{self.digits}f}"


def percent(values: Sequence[float]) -> Number:
    """Returns mean and sample standard deviation of some fractions, in percent."""
    return Number.over([100 * value for value in values], 1)


def milliseconds(time: Quartiles | None, digits: int | None = 1) -> Number | None:
    """Returns the median of a time with its quartiles; None where nothing was measured.

    Args:
        time: The time in milliseconds.
        digits: The number of digits after the point; None shows three digits of the median.
    """
    if time is None:
        return None
    return Number(
        time.median, _digits_of_three(time.median) if digits is None else digits, quartiles=(time.low, time.high)
    )


def percent_of_known(values: Iterable[float | None]) -> Number | None:
    """Returns `percent` of the fractions that are not None; None if there is none."""
    known = [value for value in values if value is not None]
    return percent(known) if known else None
