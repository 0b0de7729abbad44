"""Table 5: parameters and time per frame, the paper's beside ours, for static, dynamic and average frames."""

from collections.abc import Sequence

from vseg_nas.reporting.paper import RUNTIMES, PaperRuntime
from vseg_nas.reporting.table_formats import Cell, Column, Row, Table
from vseg_nas.results.methods import frame_size
from vseg_nas.results.numbers import Number, milliseconds
from vseg_nas.results.runtime import AVERAGE_KEYS, BenchmarkResult, BenchmarkRow, BenchmarkRun

PAPER_NOTE = (
    "Rows of the paper are quoted from it, not measured by us: mean ± spread as it prints them; it does not state the "
    "length of the clips that it averages over."
)
OUR_NOTE = (
    "Our times: median (quartiles) of repeated runs with one frame a batch. average N: clips of N frames, the first "
    "by the static network, the others by the cell. MACs: multiply-accumulate operations of one frame. Peak memory: "
    "of a key frame and the frame after it, with the weights; on a CPU that of tensors alone."
)


def runtime_table(benchmarks: Sequence[BenchmarkRun]) -> Table:
    """Returns Table 5; times are milliseconds per frame."""
    columns = (
        *(Column(title, left=True) for title in ("method", "source", "device", "input size")),
        *map(Column, ("parameters, M", "static, ms", "dynamic, ms", "average, N not stated, ms")),
        *(Column(f"average {length}, ms") for length in AVERAGE_KEYS),
        *map(Column, ("MACs static, G", "MACs dynamic, G", "peak memory, MiB")),
    )
    ours = tuple(_our_row(run.results, row) for run in benchmarks for row in run.results.rows)
    repeats = sorted({run.results.repeats for run in benchmarks})
    notes = (PAPER_NOTE, OUR_NOTE, f"Repeats: {', '.join(map(str, repeats))}.")
    title = "Table 5. Parameters and time of one frame"
    return Table(title, columns, (tuple(map(_paper_row, RUNTIMES)), ours), notes)


def _paper_row(row: PaperRuntime) -> Row:
    parameters: Cell = f"> {row.parameters:g}" if row.at_least else Number(row.parameters, 2)
    time = Number(row.milliseconds, 0 if row.std is None else 1, std=row.std)
    static, average = (time, None) if row.kind == "static" else (None, time)
    head = (row.method, "paper", row.device or None, frame_size(row.size), parameters)
    return (*head, static, None, average, *(None for _ in AVERAGE_KEYS), None, None, None)


def _our_row(results: BenchmarkResult, row: BenchmarkRow) -> Row:
    head = (row.name, "ours", f"{results.device}, {results.precision}", frame_size(results.size))
    measured = (row.static_ms, row.dynamic_ms, None, *(row.average(length) for length in AVERAGE_KEYS))
    times = (milliseconds(time, digits=None) for time in measured)
    macs = (_giga(row.macs_static), None if row.macs_dynamic is None else _giga(row.macs_dynamic))
    return (
        *head,
        Number(row.parameters / 1e6, 2),
        *times,
        *macs,
        Number(row.peak_mib, 0),
    )


def _giga(macs: int) -> Number:
    return Number(macs / 1e9, 2)
