"""Tables 3 and 4: the paper's scores beside ours, scores that it does not report, and the worth of the past to a cell.

The worth of the past is how far a cell gets from the floor, without a past, to the ceiling, a perfect past. The floor
is the same cell trained with zeros for the previous frame, at equal cost. The ceiling is the cell trained with the
static decoder's output on the current frame as its past, at the cost of the whole static network on top.
"""

from collections.abc import Iterable, Sequence
from statistics import fmean, stdev

from vseg_nas.reporting.paper import SCORES
from vseg_nas.reporting.table_formats import Cell, Column, Row, Table
from vseg_nas.results.methods import Method, Setting, frame_size, measured_on, measured_row
from vseg_nas.results.names import dataset_label, label
from vseg_nas.results.numbers import Number, milliseconds, percent, percent_of_known
from vseg_nas.results.runtime import BenchmarkResult
from vseg_nas.results.scores import Quartiles

PAIR_NOTE = (
    "Pair protocol: the first frame of each pair is segmented by the static network, the second is scored. "
    "mIoU is that of one confusion matrix over all frames, void pixels left out."
)
COST_NOTE = (
    "MACs, ms: of the second frame of a pair. Optical flow and warping along it are no networks: they count as time, "
    "not as MACs."
)
SPREAD_NOTE = "± is the sample standard deviation over trainings with different seeds."
TRAINED_STATIC_NOTE = (
    "Rows of the static network that end with how it was trained: on the labelled frames of a cell's recipe, for as "
    "many epochs. decoder trained on: the decoder in the place of a cell, on cached features. fine-tuned: then all of "
    "it, the decoder at the rate of a cell."
)
PAPER_NOTE = (
    "Rows of the paper are quoted from it, not measured by us; only rows measured on the same split "
    "at the same size compare."
)


def score_table(dataset: str, settings: dict[Setting, list[Method]]) -> Table:
    """Returns Table 3 (CamVid) or Table 4 (CityScapes); of another data set a table like them without the paper's rows.

    Args:
        dataset: The name of the data set.
        settings: The methods that were measured on it, by setting.
    """
    name = dataset_label(dataset)
    paper = SCORES.get(dataset)
    quoted: list[Row] = []
    if paper is not None:
        where = measured_on(dataset, paper.split, paper.size)
        elsewhere = measured_on(dataset, paper.split, None)
        for row in paper.rows:
            method = f"{row.method} ({row.note})" if row.note else row.method
            quoted.append((method, "paper", elsewhere if row.note else where, None, Number(row.miou, 1)))
    ours = [tuple(_score_row(setting, method) for method in found) for setting, found in settings.items()]
    columns = (Column("method", left=True), Column("source", left=True), Column("measured on", left=True))
    number = f"Table {paper.number}. " if paper else ""
    notes = (*([PAPER_NOTE] if paper else []), PAIR_NOTE, *common_notes([m for f in settings.values() for m in f]))
    title = f"{number}Segmentation scores on {name}"
    bodies = (tuple(quoted), *ours) if quoted else tuple(ours)
    return Table(title, (*columns, Column("trainings"), Column("mIoU, %")), bodies, notes)


def _score_row(setting: Setting, method: Method) -> Row:
    return (method.label, "ours", str(setting), trainings(method), percent([row.pair.miou for row in method.rows]))


def detailed_table(
    setting: Setting,
    found: Sequence[Method],
    skip_reasons: Iterable[str] = (),
    benchmarks: Sequence[BenchmarkResult] = (),
) -> Table:
    """Returns the table of costs, and of all scores of the pair protocol.

    Args:
        setting: The setting that all methods were measured in.
        found: The methods.
        skip_reasons: The reasons why there are no scores of full sequences.
        benchmarks: Latency measurements; those without any of these methods are left out.
    """
    timed = [benchmark for benchmark in benchmarks if any(_timing(method, benchmark) for method in found)]
    columns = (
        Column("method", left=True),
        *map(Column, ("trainings", "parameters, M", "MACs, G")),
        *(Column(f"ms, {measured.device}, {frame_size(measured.size)}") for measured in timed),
        *map(Column, ("mIoU, %", "score, %", "fwIoU, %", "mAcc, %")),
    )
    notes = (
        PAIR_NOTE,
        COST_NOTE,
        "score: geometric mean of mIoU, fwIoU (frequency-weighted IoU) and mAcc (mean accuracy over classes).",
        *common_notes(found),
        *(f"Full sequences are not scored: {reason}." for reason in skip_reasons),
    )
    title = f"Scores of pairs on {setting}"
    return Table(title, columns, (tuple(_detailed_row(method, timed) for method in found),), notes)


def _timing(method: Method, benchmark: BenchmarkResult) -> Quartiles | None:
    """Returns the time of a frame that is not a key frame (static network: a key frame); None if not measured."""
    row = measured_row(method, benchmark)
    if row is None:
        return None
    return row.dynamic_ms if row.cell else row.static_ms


def _detailed_row(method: Method, timed: Sequence[BenchmarkResult]) -> Row:
    pairs = [row.pair for row in method.rows]
    cells: tuple[Cell, ...] = (
        percent([pair.miou for pair in pairs]),
        percent([pair.score for pair in pairs]),
        percent([pair.fwiou for pair in pairs]),
        percent([pair.macc for pair in pairs]),
    )
    costs = Number(method.rows[0].parameters / 1e6, 2), Number(method.rows[0].macs / 1e9, 2)
    times = (milliseconds(_timing(method, benchmark)) for benchmark in timed)
    return (method.label, trainings(method), *costs, *times, *cells)


def class_table(setting: Setting, found: Sequence[Method]) -> Table:
    """Returns the table of each class's IoU in the pair protocol; a class with an empty union has none."""
    rows = []
    for index, name in enumerate(setting.classes):
        ious = [[row.pair.iou_per_class[index] for row in method.rows] for method in found]
        rows.append((label(name), *map(percent_of_known, ious)))
    columns = (Column("class", left=True), *(Column(method.label) for method in found))
    return Table(f"IoU of each class on {setting}, %", columns, (tuple(rows),), (PAIR_NOTE, *common_notes(found)))


def trainings(method: Method) -> Number | None:
    """Returns how many trainings a row is the mean of; None for a method that is not trained."""
    return None if method.trainings is None else Number(method.trainings, 0)


def common_notes(found: Sequence[Method]) -> list[str]:
    """Returns the notes that all tables of methods have."""
    trained = any(method.recipe and method.cell is None for method in found)
    return [SPREAD_NOTE, *([TRAINED_STATIC_NOTE] if trained else [])]


SHARE_NOTES = (
    "mIoU of pairs. zeros: the cell trained without a past, at equal cost, the floor. current: with the static "
    "decoder's output on the current frame for its past, at the cost of the static network on top, the ceiling.",
    "share of the way: (previous - zeros) / (current - zeros), of the means over the seeds that all three were trained "
    "with; its ± is that of previous - zeros. None where no seed is common, or where ceiling and floor differ by no "
    "more than the standard deviation of their difference.",
    SPREAD_NOTE,
)


def share_of_the_way(zero: Sequence[float], previous: Sequence[float], current: Sequence[float]) -> Number | None:
    """Returns how far a cell gets from floor to ceiling, in percent, with the spread over seeds.

    Args:
        zero: Scores with zeros as the past, one for each seed.
        previous: Scores with the previous frame as the past, of the same seeds in the same order.
        current: Scores with the current frame as the past, of the same seeds in the same order.

    Returns:
        The share; None without seeds, or if ceiling and floor differ by no more than the spread of their difference.
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
    """Returns a row for each cell and recipe that was trained with all three pasts; None if there is none."""
    controls = {_trained(method, method.cell.past): method for method in found if method.cell}
    rows = []
    for method in found:
        if method.cell and method.cell.past == "previous":
            zero, current = (controls.get(_trained(method, past)) for past in ("zero", "current"))
            if zero and current:
                rows.append(_share_row(zero, method, current))
    if not rows:
        return None
    columns = [Column("cell", left=True), Column("seeds of all three")]
    columns += [Column(f"mIoU, {past}, %") for past in ("zeros", "previous", "current")]
    columns.append(Column("share of the way, %"))
    return Table(f"What the past is worth on {setting}", tuple(columns), (tuple(rows),), SHARE_NOTES)


def _trained(method: Method, past: str) -> tuple[str | None, str | None, str]:
    """Returns what identifies the training of a method's cell by its recipe, with a given past."""
    return method.cell.genotype.key if method.cell else None, method.recipe, past


def _share_row(*trained: Method) -> Row:
    """Returns the row of a cell from three methods: its floor, itself and its ceiling."""
    scores = [{row.seed: row.pair.miou for row in method.rows} for method in trained]
    seeds = sorted(seed for seed in scores[0] if seed is not None and all(seed in by_seed for by_seed in scores))
    share = share_of_the_way(*([by_seed[seed] for seed in seeds] for by_seed in scores))
    means = (percent([row.pair.miou for row in method.rows]) for method in trained)
    return (trained[1].label, Number(len(seeds), 0), *means, share)
