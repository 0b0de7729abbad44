"""Numbers as a person reads them."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from statistics import fmean, stdev
from typing import Self

MISSING = "-"
EN_DASH = "\N{EN DASH}"
COUNTS = ((1e9, "G"), (1e6, "M"), (1e3, "k"))


def quantity(number: int) -> str:
    """Three digits and a decimal prefix: `1_234_567` -> `1.23M`."""
    for size, prefix in COUNTS:
        if number >= 0.9995 * size:  # 999,500 would round to 1000k
            value = number / size
            return f"{value:.{2 if value < 9.995 else 1 if value < 99.95 else 0}f}{prefix}"
    return str(number)


def duration(seconds: float) -> str:
    """`4.2 s`, `12 min 05 s`, `3 h 07 min`."""
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
    """A measured value, with the spread of its measurements where there is one: a deviation or quartiles.

    Attributes:
        value: mean or median.
        digits: shown after the point; CSV has all.
        std: standard deviation.
        quartiles: lower and upper.
    """

    value: float
    digits: int
    std: float | None = None
    quartiles: tuple[float, float] | None = None

    @classmethod
    def over(cls, values: Sequence[float], digits: int) -> Self:
        """Mean and, of several values, sample standard deviation."""
        return cls(fmean(values), digits, std=stdev(values) if len(values) > 1 else None)

    @property
    def rounded(self) -> str:
        """The value as shown."""
        return self._text(self.value)

    @property
    def spread(self) -> str:
        """The spread as shown; empty if there is none."""
        if self.std is not None:
            return f"± {self._text(self.std)}"
        return f"({EN_DASH.join(map(self._text, self.quartiles))})" if self.quartiles else ""

    def __str__(self) -> str:
        return f"{self.rounded} {self.spread}".rstrip()

    def _text(self, value: float) -> str:
        return f"{value:.{self.digits}f}"


def percent(values: Sequence[float]) -> Number:
    """Mean and sample standard deviation of some fractions, in percent."""
    return Number.over([100 * value for value in values], 1)


def percent_of_known(values: Iterable[float | None]) -> Number | None:
    """The same of those that are there; None without any."""
    known = [value for value in values if value is not None]
    return percent(known) if known else None
