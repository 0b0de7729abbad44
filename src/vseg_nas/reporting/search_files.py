"""Writes the folder ``report`` of a search: its pictures, its best cells and all its trials."""

from collections.abc import Iterable, Sequence
from pathlib import Path

from vseg_nas.figures.search_pictures import write_pictures
from vseg_nas.nas.history import best_cells
from vseg_nas.nas.trial import Trial
from vseg_nas.nas.trial_rows import HEADINGS, REPORTED_CELLS, best_cell_row, write_trials_csv
from vseg_nas.reporting.table_formats import Code, Column, Table, markdown
from vseg_nas.runs.files import write_text


def write_report(run_dir: Path, trials: Sequence[Trial]) -> list[Path]:
    """Writes the pictures, trials.csv and best_cells.md into ``run_dir/report``; each file is replaced whole.

    Returns:
        The files written.
    """
    folder = run_dir / "report"
    paths = [*write_pictures(trials, folder), write_trials_csv(trials, folder / "trials.csv")]
    table = folder / "best_cells.md"
    return [*paths, write_text(table, markdown(ranking_table(trials, REPORTED_CELLS)))]


def ranking_table(trials: Iterable[Trial], k: int, title: str = "") -> Table:
    """Returns the table of the ``k`` best different cells."""
    rows = [best_cell_row(rank, cell) for rank, cell in enumerate(best_cells(trials, k), 1)]
    columns = (*map(Column, HEADINGS[:-1]), Column(HEADINGS[-1], left=True))
    return Table(title, columns, (tuple((*numbers, Code(expression)) for *numbers, expression in rows),))
