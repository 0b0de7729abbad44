"""Stores the rows of an evaluation, one file each, so that an interrupted evaluation measures none twice."""

import os
from pathlib import Path

from vseg_nas.errors import DataError
from vseg_nas.results.evaluation_result import EvaluationRow
from vseg_nas.results.result import Count, Fraction, Record, read_result
from vseg_nas.runs.files import write_json

FOLDER = "rows"


class MeasuredRow(Record):
    """A row of an evaluation, and what its pictures need in addition.

    Attributes:
        row: The row.
        confusion: (C, C) pixels of pairs; rows are the ground truth, columns the predictions.
        miou_per_frame: The mIoU of each second frame of a pair alone; None for a frame without labelled pixels.
    """

    row: EvaluationRow
    confusion: tuple[tuple[Count, ...], ...]
    miou_per_frame: tuple[Fraction | None, ...]


def save_row(run_dir: Path, key: str, measured: MeasuredRow) -> None:
    """Writes a row, whole or not at all."""
    write_json(_path(run_dir, key), measured.to_json())


def load_row(run_dir: Path, key: str, classes: int, pairs: int) -> MeasuredRow | None:
    """Returns a row that was measured before; None if there is none of that key.

    Args:
        run_dir: Directory of the evaluation.
        key: The key of the row, from `SplitEvaluator.key`.
        classes: C, the number of classes.
        pairs: Number of pairs.

    Raises:
        DataError: The file is damaged, or is a row of another evaluation.
    """
    path = _path(run_dir, key)
    if not os.path.lexists(path):
        return None
    remedy = "the row is damaged; remove it to measure it again"
    try:
        found = read_result(path, MeasuredRow)
    except DataError as error:
        raise DataError(f"{error}; {remedy}") from error
    if problem := found.row.wrong_classes(classes):
        raise DataError(f"{path}: row.{problem}; {remedy}")
    shape = (len(found.miou_per_frame), [len(line) for line in found.confusion])
    if shape != (pairs, [classes] * classes):
        raise DataError(f"{path}: found scores of other pairs or classes than this evaluation has; {remedy}")
    return found


def _path(run_dir: Path, key: str) -> Path:
    return run_dir / FOLDER / f"{key}.json"
