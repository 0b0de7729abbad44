"""Tables on the terminal: the best cells of a search, a latency measurement, what `check` found."""

from collections.abc import Iterable, Mapping, Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from vseg_nas.nas.history import best_cells
from vseg_nas.nas.trial import Trial
from vseg_nas.nas.trial_rows import HEADINGS, best_cell_row
from vseg_nas.results.data_check import SplitCheck
from vseg_nas.results.names import label
from vseg_nas.results.numbers import MISSING, quantity
from vseg_nas.results.runtime import UNLIMITED, BenchmarkRow
from vseg_nas.results.scores import Quartiles


def best_cells_table(trials: Iterable[Trial], k: int) -> Table:
    """Returns a table of the ``k`` best different cells; scores are fractions, MACs are those of one frame."""
    cells = best_cells(trials, k)
    table = Table(box=box.SIMPLE_HEAD, title=f"Best {len(cells)} cells", title_justify="left", padding=(0, 1, 0, 0))
    for heading in HEADINGS[:-1]:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column(HEADINGS[-1], overflow="fold", ratio=1)
    for rank, cell in enumerate(cells, 1):
        *numbers, expression = best_cell_row(rank, cell)
        table.add_row(*numbers, expression.replace("; ", "\n"), style="bold" if rank == 1 else None)
    return table


def benchmark_table(rows: Sequence[BenchmarkRow]) -> Table:
    """Returns Table 5 with a column for each network; times are milliseconds per frame, as median (quartiles)."""
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


def shares_table(splits: Mapping[str, SplitCheck]) -> Table:
    """Returns the share of each class in percent of the labelled pixels; ``ignored`` is percent of all pixels."""
    table = Table(box=box.SIMPLE_HEAD, title="Pixels of each class, %", title_justify="left")
    table.add_column("class")
    for split in splits:
        table.add_column(split, justify="right")
    for name in dict.fromkeys(name for found in splits.values() for name in found.shares):
        values = (found.shares.get(name) for found in splits.values())
        table.add_row(label(name), *(MISSING if value is None else f"{100 * value:.2f}" for value in values))
    return table


def sequences_table(splits: Mapping[str, SplitCheck], most: int) -> Table:
    """Returns a table of sequences of successive frames; a split with more than ``most`` of them has one line."""
    table = Table(box=box.SIMPLE_HEAD, title="Sequences of successive frames", title_justify="left")
    for heading in ("split", "first frame", "last frame"):
        table.add_column(heading)
    table.add_column("frames", justify="right")
    for split, found in splits.items():
        if (count := len(found.sequences)) > most:
            frames = [sequence.frames for sequence in found.sequences]
            table.add_row(split, f"{count} sequences of {min(frames)} to {max(frames)}", "", str(sum(frames)))
            continue
        for sequence in found.sequences:
            table.add_row(split, sequence.first, sequence.last, str(sequence.frames))
    return table
