"""What `benchmark` leaves: size and time of networks (Table 5). Times are milliseconds a frame."""

from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field

from vseg_nas.results.cell import CellRecord
from vseg_nas.results.record import Amount, Count, Positive, Result, ResultRun, Size, Text
from vseg_nas.results.scores import Quartiles
from vseg_nas.validation import expected

LENGTHS = (2, 5, 10)
"""Frames from one key frame to the next that averages are given for; Table 5 does not say its own."""
UNLIMITED = "unlimited"
AVERAGE_KEYS = (*map(str, LENGTHS), UNLIMITED)
"""Keys of `BenchmarkRow.average_ms`."""
AverageKey = Annotated[
    str, Field(pattern="^([1-9][0-9]{0,8}|unlimited)$"), expected("a number of frames or 'unlimited'")
]


class BenchmarkRow(CellRecord):
    """The latency of one network.

    Attributes:
        name: Name of the network or cell.
        parameters: Number of parameters of the whole network.
        macs_static: Multiply-accumulate operations of a key frame.
        macs_dynamic: Those of any other frame; None for a network that has key frames alone.
        static_ms: Time of a key frame.
        dynamic_ms: Time of any other frame.
        average_ms: Mean time over clips of so many frames, the first a key frame, by `AVERAGE_KEYS`.
        peak_mib: Peak memory.
    """

    name: Text
    parameters: Count
    macs_static: Count
    macs_dynamic: Count | None
    static_ms: Quartiles
    dynamic_ms: Quartiles | None
    average_ms: dict[AverageKey, Quartiles] | None
    peak_mib: Amount

    def average(self, key: str) -> Quartiles | None:
        """Mean time over clips of so many frames, where it was measured."""
        return None if self.average_ms is None else self.average_ms.get(key)


class BenchmarkResult(Result):
    """The whole of benchmark.json.

    Attributes:
        device: Device, in words.
        precision: Precision and form of the networks, in words.
        size: Height and width of a frame.
        classes: Number of classes.
        repeats: How often each kind of frame was timed.
        rows: One a network.
    """

    FILE: ClassVar[str] = "benchmark.json"

    format: Literal["vseg_nas.benchmark/1"] = "vseg_nas.benchmark/1"
    device: Text
    precision: Text
    size: Size
    classes: Positive
    repeats: Positive
    rows: tuple[BenchmarkRow, ...]


BenchmarkRun: TypeAlias = ResultRun[BenchmarkResult]
