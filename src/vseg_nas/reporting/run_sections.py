"""Sections of a report on trainings, comparisons, checked data sets and labelled videos, with one table each."""

from collections.abc import Sequence

from vseg_nas.reporting.opened_runs import Runs
from vseg_nas.reporting.page import Section
from vseg_nas.reporting.report_folder import ReportFolder
from vseg_nas.reporting.search_tables import comparison_table
from vseg_nas.reporting.table_formats import Code, Column, Row, Table
from vseg_nas.results.data_check import CheckResult
from vseg_nas.results.methods import frame_size
from vseg_nas.results.names import dataset_label, label
from vseg_nas.results.numbers import Number, duration, milliseconds
from vseg_nas.results.predicted_video import PredictionResult
from vseg_nas.results.result import ResultRun
from vseg_nas.results.training_result import TrainingResult

TRAINING_NOTE = "Scores: of the second frames of pairs of the validation split, after the last epoch."
COMPARISON_NOTE = (
    "Trained with the budget and the data of the search. ± is the sample standard deviation over trainings; of the "
    "random cells the one with the median score on meta-val is shown."
)
CHECK_NOTE = "Shares: percent of the labelled pixels; ignored: percent of all pixels."
PREDICTION_NOTE = (
    "Frames a second: reading and writing included. Times: median (quartiles) from the normalised frame to its labels, "
    "without the first frames of each kind."
)


def comparison_sections(found: Runs, folder: ReportFolder) -> list[Section]:
    """Returns the section of comparisons, the best cells of searches beside baselines; none without comparisons."""
    blocks = []
    for run in found.comparisons:
        results = run.results
        title = f"Best cell of {results.search} on {dataset_label(results.dataset)}"
        table = comparison_table(results.rows, title, (COMPARISON_NOTE,))
        blocks.append(folder.table(f"comparison {run.name}", table, [results.command]))
    return [Section("Best cells beside simpler things", tuple(blocks))] if blocks else []


def training_sections(found: Runs, folder: ReportFolder) -> list[Section]:
    """Returns the section of final trainings, all in one table; none without trainings."""
    if not found.trainings:
        return []
    commands = [run.results.command for run in found.trainings]
    block = folder.table("trainings", training_table(found.trainings), commands)
    return [Section("Final trainings", (block,))]


def training_table(trainings: Sequence[ResultRun[TrainingResult]]) -> Table:
    """Returns a table with one row for each training; scores are percent."""
    columns = (
        *(Column(title, left=True) for title in ("run", "data", "network", "cell")),
        *map(Column, ("seed", "parameters, M", "mIoU, %", "fwIoU, %", "mAcc, %", "score, %", "time")),
    )
    rows: list[Row] = []
    for run in trainings:
        results, val = run.results, run.results.val
        scores = (Number(100 * value, 1) for value in (val.miou, val.fwiou, val.macc, val.score))
        cell = Code(results.expression) if results.cell else None
        head = (run.name, dataset_label(results.dataset), results.group, cell)
        sizes = (str(results.seed), Number(results.parameters / 1e6, 2))
        rows.append((*head, *sizes, *scores, duration(results.seconds)))
    return Table("Final trainings", columns, (tuple(rows),), (TRAINING_NOTE,))


def check_sections(found: Runs, folder: ReportFolder) -> list[Section]:
    """Returns the section of checked data sets, one table each; none without checks."""
    blocks = [
        folder.table(f"check {run.name}", check_table(run.results), [run.results.command]) for run in found.checks
    ]
    return [Section("Checked data", tuple(blocks))] if blocks else []


def check_table(results: CheckResult) -> Table:
    """Returns the table of what each split holds, and of the share of each class in it."""
    splits = results.splits.values()
    counts: list[Row] = [
        ("frames", *(Number(split.frames, 0) for split in splits)),
        ("masks", *(Number(split.masks, 0) for split in splits)),
        ("sequences of successive frames", *(Number(len(split.sequences), 0) for split in splits)),
        ("files that cannot be used", *(Number(len(split.problems), 0) for split in splits)),
    ]
    classes = dict.fromkeys(name for split in splits for name in split.shares)
    shares: list[Row] = [
        (f"{label(name)}, %", *(Number(100 * s.shares[name], 2) if name in s.shares else None for s in splits))
        for name in classes
    ]
    columns = (Column("", left=True), *map(Column, results.splits))
    title = f"{dataset_label(results.dataset)} in {results.root}"
    return Table(title, columns, (tuple(counts), tuple(shares)), (CHECK_NOTE,))


def prediction_sections(found: Runs, folder: ReportFolder) -> list[Section]:
    """Returns the section of labelled videos, all in one table; none without predictions."""
    if not found.predictions:
        return []
    commands = [run.results.command for run in found.predictions]
    block = folder.table("labelled videos", prediction_table(found.predictions), commands)
    return [Section("Labelled videos", (block,))]


def prediction_table(predictions: Sequence[ResultRun[PredictionResult]]) -> Table:
    """Returns a table with one row for each labelled video."""
    columns = (
        *(Column(title, left=True) for title in ("run", "source", "network", "device", "size", "labelled at")),
        *map(Column, ("frames", "key frames", "skipped", "frames a second", "key frame, ms", "other frame, ms")),
    )
    rows: list[Row] = []
    for run in predictions:
        results = run.results
        sizes = frame_size(results.size), frame_size(results.network_size)
        counts = (Number(count, 0) for count in (results.frames, results.key_frames, results.skipped))
        times = milliseconds(results.key_ms), milliseconds(results.dynamic_ms)
        head = (run.name, results.source, results.network, results.device, *sizes)
        rows.append((*head, *counts, Number(results.frames_per_second, 1), *times))
    return Table("Labelled videos", columns, (tuple(rows),), (PREDICTION_NOTE,))
