"""What `benchmark` leaves: size and time of networks (Table 5). Times are milliseconds per frame."""

from typing import Annotated, ClassVar, Literal, TypeAlias

from pydantic import Field

from vseg_nas.results.result import Amount, Count, Positive, Result, ResultRun, Size, Text
from vseg_nas.results.scores import Quartiles
from vseg_nas.results.used_cell import CellRecord
from vseg_nas.validators import expected

LENGTHS = (2, 5, 10)
"""Numbers of frames from one key frame to the next for which averages are given; Table 5 does not state its own."""
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
        macs_dynamic: Multiply-accumulate operations of any other frame; None for a network with key frames only.
        static_ms: The time of a key frame in milliseconds.
        dynamic_ms: Time of any other frame.
        average_ms: Mean time per frame of clips whose first frame is a key frame, by their lengths (`AVERAGE_KEYS`).
        peak_mib: The peak of memory in MiB.
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
        """Returns the mean time per frame of clips of a length; None if it was not measured."""
        return None if self.average_ms is None else self.average_ms.get(key)


class BenchmarkResult(Result):
    """The whole of benchmark.json.

    Attributes:
        device: Device, in words.
        precision: Precision and form of the networks, in words.
        size: Height and width of a frame.
        classes: Number of classes.
        repeats: The number of timings of each kind of frame.
        rows: A row for each network.
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
