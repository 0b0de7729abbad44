"""The best cells as a table, for the terminal and for Markdown, and every trial as CSV."""

import csv
from collections.abc import Iterable
from pathlib import Path

from rich import box
from rich.table import Table as TerminalTable

from vseg_nas.files import replacing
from vseg_nas.nas.trial import Trial
from vseg_nas.reporting.history import Scored, best_cells
from vseg_nas.reporting.rendering import Code, Column, Table, markdown
from vseg_nas.reporting.units import quantity

HEADINGS = ("rank", "trial", "score", "mIoU", "params", "MACs", "epochs", "cell")
TRIAL_FIELDS = ("trial", "state", "reused_from", "seed")
EVALUATION_FIELDS = ("score", "miou", "fwiou", "macc", "parameters", "macs", "seconds", "epochs", "stopped")
CSV_FIELDS = (*TRIAL_FIELDS, *EVALUATION_FIELDS, "reason", "expression", "genotype")


def best_cells_table(trials: Iterable[Trial], k: int) -> TerminalTable:
    """The `k` best different cells for the terminal: scores are fractions, MACs those of one frame."""
    cells = best_cells(trials, k)
    table = TerminalTable(
        box=box.SIMPLE_HEAD, title=f"Best {len(cells)} cells", title_justify="left", padding=(0, 1, 0, 0)
    )
    for heading in HEADINGS[:-1]:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column(HEADINGS[-1], overflow="fold", ratio=1)
    for rank, cell in enumerate(cells, 1):
        *numbers, expression = _row(rank, cell)
        table.add_row(*numbers, expression.replace("; ", "\n"), style="bold" if rank == 1 else None)
    return table


def best_cells_report(trials: Iterable[Trial], k: int, title: str = "") -> Table:
    """The same table for a report."""
    rows = [_row(rank, cell) for rank, cell in enumerate(best_cells(trials, k), 1)]
    columns = (*map(Column, HEADINGS[:-1]), Column(HEADINGS[-1], left=True))
    return Table(title, columns, (tuple((*numbers, Code(expression)) for *numbers, expression in rows),))


def best_cells_markdown(trials: Iterable[Trial], k: int) -> str:
    """The same table in Markdown."""
    return markdown(best_cells_report(trials, k))


def _row(rank: int, cell: Scored) -> tuple[str, ...]:
    e = cell.evaluation
    epochs = f"{e.epochs}, stopped" if e.stopped else str(e.epochs)
    scores = (f"{e.score:.4f}", f"{e.miou:.4f}")
    sizes = (quantity(e.parameters), quantity(e.macs))
    return (str(rank), str(cell.trial.id), *scores, *sizes, epochs, cell.trial.genotype.expression())


def write_trials_csv(trials: Iterable[Trial], path: Path) -> Path:
    """Writes every trial as a row; floats are exact, genotypes are JSON, what a trial lacks is empty.

    Returns:
        `path`, replaced whole.
    """
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, CSV_FIELDS)
        writer.writeheader()
        writer.writerows(trial_record(trial) for trial in sorted(trials, key=lambda trial: trial.id))
    return path


def trial_record(trial: Trial) -> dict[str, object]:
    """A trial as one flat row under the names of `CSV_FIELDS`; None where it has no value."""
    evaluation = {name: getattr(trial.evaluation, name, None) for name in EVALUATION_FIELDS}
    return {
        "trial": trial.id,
        "state": str(trial.state),
        "reused_from": trial.reused_from,
        "seed": trial.seed,
        **evaluation,
        "reason": trial.reason,
        "expression": trial.genotype.expression(),
        "genotype": trial.genotype.to_json(),
    }
