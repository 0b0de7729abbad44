"""The table of `compare`: one line a name, mean and spread over its trainings."""

import statistics
from collections.abc import Sequence

from vseg_nas.reporting.rendering import Column, Number, Row, Table
from vseg_nas.reporting.score_tables import percent
from vseg_nas.results.comparison import RANDOM_CELL, ComparisonRow

COLUMNS = ("meta-val score, %", "meta-val mIoU, %", "val score, %", "val mIoU, %")


def comparison_table(rows: Sequence[ComparisonRow], title: str = "") -> Table:
    """Scores in percent: mean ± sample standard deviation over the trainings of a cell; of the random cells the median.

    Args:
        rows: Of one comparison.
        title: Of the table.
    """
    groups: dict[str, list[ComparisonRow]] = {}
    for row in rows:
        groups.setdefault(row.name, []).append(row)
    if cells := groups.pop(RANDOM_CELL, None):
        groups[f"median of {len(cells)} random cells"] = [_median(cells)]
    columns = (Column("", left=True), Column("trainings"), *map(Column, COLUMNS), Column("cell parameters"))
    return Table(title, columns, (tuple(_row(name, group) for name, group in groups.items()),))


def _row(name: str, group: Sequence[ComparisonRow]) -> Row:
    scores = [[row.meta_val.score for row in group], [row.meta_val.miou for row in group]]
    scores += [[row.val.score for row in group], [row.val.miou for row in group]]
    parameters = group[0].parameters
    head, tail = (Number(len(group), 0), Number(parameters, 0)) if parameters else (None, None)
    return (name, head, *map(percent, scores), tail)


def _median(rows: Sequence[ComparisonRow]) -> ComparisonRow:
    """The row whose score on meta-val is the (lower) median."""
    middle = statistics.median_low(row.meta_val.score for row in rows)
    return next(row for row in rows if row.meta_val.score == middle)
