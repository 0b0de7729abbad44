"""A latency measurement for the terminal: one column a network, so that several fit."""

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from vseg_nas.reporting.rendering import MISSING
from vseg_nas.reporting.units import quantity
from vseg_nas.results.benchmark import UNLIMITED, BenchmarkRow
from vseg_nas.results.scores import Quartiles


def benchmark_table(rows: Sequence[BenchmarkRow]) -> Table:
    """Table 5 turned on its side; times are milliseconds a frame, as median (quartiles)."""
    lengths = list(dict.fromkeys(length for row in rows for length in row.average_ms or ()))
    table = Table(box=box.SIMPLE_HEAD)
    table.add_column()
    for row in rows:
        table.add_column(Text(row.name), justify="right", overflow="fold")
    table.add_row("parameters", *(quantity(row.parameters) for row in rows))
    table.add_row("MACs static", *(quantity(row.macs_static) for row in rows))
    table.add_row("MACs dynamic", *(_macs(row.macs_dynamic) for row in rows))
    table.add_row("static, ms", *(_time(row.static_ms) for row in rows))
    table.add_row("dynamic, ms", *(_time(row.dynamic_ms) for row in rows))
    for length in lengths:
        frames = length if length == UNLIMITED else f"of {length}"
        table.add_row(f"average {frames}, ms", *(_time(row.average(length)) for row in rows))
    table.add_row("peak memory, MiB", *(f"{row.peak_mib:.1f}" for row in rows))
    return table


def _macs(macs: int | None) -> str:
    return MISSING if macs is None else quantity(macs)


def _time(timing: Quartiles | None) -> str:
    return MISSING if timing is None else f"{timing.median:.1f} ({timing.low:.1f}-{timing.high:.1f})"
