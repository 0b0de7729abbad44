"""What a latency measurement leaves behind, read back with every key checked.

The file comes from `python -m vseg_nas.benchmark`. Times are milliseconds a frame, sizes (H, W) in pixels.
"""

from dataclasses import dataclass
from pathlib import Path

from vseg_nas.reporting.json_object import JsonObject
from vseg_nas.reporting.used_cell import UsedCell, read_cell

BENCHMARK_FILE = "benchmark.json"
BENCHMARK_FORMAT = "vseg_nas.benchmark/1"
UNLIMITED = "unlimited"


@dataclass(frozen=True)
class Timing:
    """Median and quartiles of repeated measurements, in milliseconds."""

    median: float
    low: float
    high: float


@dataclass(frozen=True)
class BenchmarkRow:
    """The latency of one network.

    Attributes:
        name: of the network or cell.
        cell: None for the static network.
        parameters: of the whole network.
        macs_static: multiply-accumulate operations of a key frame.
        macs_dynamic: of any other frame.
        static: a key frame.
        dynamic: any other frame.
        average: over clips of so many frames, the first a key frame, or `UNLIMITED`; empty without a cell.
        peak_mib: memory.
    """

    name: str
    cell: UsedCell | None
    parameters: int
    macs_static: int
    macs_dynamic: int | None
    static: Timing
    dynamic: Timing | None
    average: dict[str, Timing]
    peak_mib: float


@dataclass(frozen=True)
class BenchmarkResults:
    """The whole of benchmark.json."""

    device: str
    precision: str
    size: tuple[int, int]
    classes: int
    repeats: int
    command: str
    date: str
    rows: tuple[BenchmarkRow, ...]


def read_benchmark(path: Path) -> BenchmarkResults:
    """Reads benchmark.json.

    Raises:
        DataError: in one line: the file and key, what was found and what was expected.
    """
    file = JsonObject.read(path, BENCHMARK_FORMAT)
    height, width = file.integers("size", length=2)
    return BenchmarkResults(
        device=file.text("device"),
        precision=file.text("precision"),
        size=(height, width),
        classes=file.integer("classes", low=1),
        repeats=file.integer("repeats", low=1),
        command=file.text("command"),
        date=file.text("date"),
        rows=tuple(_benchmark_row(row) for row in file.children("rows")),
    )


def _benchmark_row(row: JsonObject) -> BenchmarkRow:
    average = {} if row.is_null("average_ms") else row.mapping("average_ms")
    return BenchmarkRow(
        name=row.text("name"),
        cell=read_cell(row),
        parameters=row.integer("parameters"),
        macs_static=row.integer("macs_static"),
        macs_dynamic=None if row.is_null("macs_dynamic") else row.integer("macs_dynamic"),
        static=_timing(row.child("static_ms")),
        dynamic=None if row.is_null("dynamic_ms") else _timing(row.child("dynamic_ms")),
        average={length: _timing(value) for length, value in average.items()},
        peak_mib=row.number("peak_mib"),
    )


def _timing(timing: JsonObject) -> Timing:
    return Timing(timing.number("median"), timing.number("low"), timing.number("high"))
