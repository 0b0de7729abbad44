"""The table of `compare`: one line a name, mean and spread over its trainings."""

import statistics
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Line:
    """Scores of everything with one name, as fractions, one per training.

    Attributes:
        name: what was measured.
        meta_val_score: geometric means on meta-val.
        meta_val_miou: mIoU on meta-val.
        val_score: geometric means on val.
        val_miou: mIoU on val.
        parameters: of the cell; 0 if there is none.
    """

    name: str
    meta_val_score: tuple[float, ...]
    meta_val_miou: tuple[float, ...]
    val_score: tuple[float, ...]
    val_miou: tuple[float, ...]
    parameters: int


def comparison_markdown(lines: Sequence[Line]) -> str:
    """A Markdown table in percent; with several trainings, mean ± sample standard deviation."""
    head = "| | trainings | meta-val score | meta-val mIoU | val score | val mIoU | cell parameters |"
    rows = [head, "|---|---|---|---|---|---|---|"]
    for line in lines:
        columns = (line.meta_val_score, line.meta_val_miou, line.val_score, line.val_miou)
        cells = " | ".join(_percent(values) for values in columns)
        trainings = len(line.val_score) if line.parameters else "-"
        rows.append(f"| {line.name} | {trainings} | {cells} | {line.parameters or '-'} |")
    return "\n".join(rows) + "\n"


def _percent(values: Sequence[float]) -> str:
    mean = 100 * statistics.fmean(values)
    return f"{mean:.1f}" if len(values) == 1 else f"{mean:.1f} ± {100 * statistics.stdev(values):.1f}"
