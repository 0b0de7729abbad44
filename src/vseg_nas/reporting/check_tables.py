"""What `check` found in a data set, for the terminal."""

from collections.abc import Mapping, Sequence

from rich import box
from rich.table import Table

from vseg_nas.data.inspection import SequenceReport
from vseg_nas.reporting.palette import label
from vseg_nas.reporting.rendering import MISSING


def shares_table(shares: Mapping[str, Mapping[str, float]]) -> Table:
    """Percent of the labelled pixels of each class, by split; ``ignored`` is percent of all pixels."""
    table = Table(box=box.SIMPLE_HEAD, title="Pixels of each class, %", title_justify="left")
    table.add_column("class")
    for split in shares:
        table.add_column(split, justify="right")
    for name in dict.fromkeys(name for of_split in shares.values() for name in of_split):
        values = (of_split.get(name) for of_split in shares.values())
        table.add_row(label(name), *(MISSING if value is None else f"{100 * value:.2f}" for value in values))
    return table


def runs_table(runs: Mapping[str, Sequence[SequenceReport]], most: int) -> Table:
    """Runs of successive frames; a split with more than ``most`` of them in one line."""
    table = Table(box=box.SIMPLE_HEAD, title="Runs of successive frames", title_justify="left")
    for heading in ("split", "first frame", "last frame"):
        table.add_column(heading)
    table.add_column("frames", justify="right")
    for split, found in runs.items():
        if len(found) > most:
            frames = [run.frames for run in found]
            table.add_row(split, f"{len(found)} runs of {min(frames)} to {max(frames)}", "", str(sum(frames)))
            continue
        for run in found:
            table.add_row(split, run.first, run.last, str(run.frames))
    return table
