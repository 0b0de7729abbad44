"""What the past is worth to a cell: how far it gets from the floor, without a past, to the ceiling, a perfect one.

The floor is the cell trained with zeros for the previous frame, at equal cost. The ceiling is the cell trained with the
static decoder's output on the current frame, at the cost of the whole static network on top.
"""

from collections.abc import Sequence
from statistics import fmean, stdev

from vseg_nas.reporting.methods import Method, Setting
from vseg_nas.reporting.rendering import Column, Number, Row, Table
from vseg_nas.reporting.score_tables import SPREAD_NOTE, percent

NOTES = (
    "mIoU of pairs. zeros: the cell trained without a past, at equal cost, the floor. current: with the static "
    "decoder's output on the current frame for its past, at the cost of the static network on top, the ceiling.",
    "share of the way: (previous - zeros) / (current - zeros), of the means over the seeds that all three were trained "
    "with; its ± is that of previous - zeros. None where no seed is common, or where ceiling and floor differ by no "
    "more than the standard deviation of their difference.",
    SPREAD_NOTE,
)


def share_of_the_way(zero: Sequence[float], previous: Sequence[float], current: Sequence[float]) -> Number | None:
    """The share in percent, with its spread over seeds.

    Args:
        zero: scores with zeros for the past, one a seed.
        previous: with the previous frame, of the same seeds in the same order.
        current: with the current frame.

    Returns:
        None without seeds, or where ceiling and floor differ by no more than the spread of their difference.
    """
    if not zero:
        return None
    gained = [p - z for p, z in zip(previous, zero, strict=True)]
    whole = [c - z for c, z in zip(current, zero, strict=True)]
    way, spread = fmean(whole), stdev(whole) if len(whole) > 1 else 0.0
    if way <= spread:
        return None
    return Number.over([100 * gain / way for gain in gained], 0)


def share_table(setting: Setting, found: Sequence[Method]) -> Table | None:
    """A row a cell and recipe that was trained with all three pasts; None without any."""
    controls = {_trained(method, method.cell.past): method for method in found if method.cell}
    rows = []
    for method in found:
        if method.cell and method.cell.past == "previous":
            zero, current = (controls.get(_trained(method, past)) for past in ("zero", "current"))
            if zero and current:
                rows.append(_row(zero, method, current))
    if not rows:
        return None
    columns = [Column("cell", left=True), Column("seeds of all three")]
    columns += [Column(f"mIoU, {past}, %") for past in ("zeros", "previous", "current")]
    columns.append(Column("share of the way, %"))
    return Table(f"What the past is worth on {setting}", tuple(columns), (tuple(rows),), NOTES)


def _trained(method: Method, past: str) -> tuple[str | None, str | None, str]:
    """The same cell by the same recipe, with another past."""
    return method.cell.genotype.key if method.cell else None, method.recipe, past


def _row(*trained: Method) -> Row:
    """Of floor, cell and ceiling."""
    scores = [{row.seed: row.pair.miou for row in method.rows} for method in trained]
    seeds = sorted(seed for seed in scores[0] if seed is not None and all(seed in by_seed for by_seed in scores))
    share = share_of_the_way(*([by_seed[seed] for seed in seeds] for by_seed in scores))
    means = (percent([row.pair.miou for row in method.rows]) for method in trained)
    return (trained[1].label, Number(len(seeds), 0), *means, share)
