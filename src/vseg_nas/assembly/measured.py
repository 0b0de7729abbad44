"""Rows of an evaluation on disk, one file each, so that one that was interrupted measures none twice."""

from pathlib import Path

import numpy as np

from vseg_nas.assembly.evaluate import Measured
from vseg_nas.errors import DataError
from vseg_nas.files import read_regular, write_json
from vseg_nas.reporting.evaluation_results import check_row
from vseg_nas.space import strict_json

FOLDER = "rows"
MAX_CHARACTERS = 2**26


def keep_measured(run_dir: Path, key: str, measured: Measured) -> None:
    """Writes a row, whole or not at all."""
    content = {
        "row": measured.row,
        "confusion": measured.confusion.tolist(),
        "miou_per_frame": measured.miou_per_frame,
    }
    write_json(_path(run_dir, key), content)


def kept_measured(run_dir: Path, key: str, classes: int, pairs: int) -> Measured | None:
    """A row that is there already; None if there is none of that key.

    Args:
        run_dir: of the evaluation.
        key: see `Evaluation.key`.
        classes: C, of the confusion matrix.
        pairs: number of pairs.

    Raises:
        DataError: the file is damaged.
    """
    path = _path(run_dir, key)
    try:
        content = strict_json.loads(read_regular(path, MAX_CHARACTERS).decode(), MAX_CHARACTERS)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror})") from error
    except ValueError as error:
        raise DataError(f"{path}: damaged ({str(error)[:80]}); remove it to measure that row anew") from error
    match content:
        case {"row": dict(row), "confusion": list(confusion), "miou_per_frame": list(frames)} if len(frames) == pairs:
            matrix = all(isinstance(line, list) and len(line) == classes for line in confusion)
            if matrix and len(confusion) == classes and _are_counts(confusion) and all(map(_is_score, frames)):
                check_row(path, row, classes)
                return Measured(row, np.array(confusion, dtype=np.int64), tuple(frames))
    raise DataError(f"{path}: found another schema, expected a row of this evaluation; remove it to measure it anew")


def _are_counts(confusion: list[list[object]]) -> bool:
    return all(type(value) is int and value >= 0 for line in confusion for value in line)


def _is_score(value: object) -> bool:
    return value is None or (type(value) in (int, float) and 0 <= value <= 1)  # type: ignore[operator]


def _path(run_dir: Path, key: str) -> Path:
    return run_dir / FOLDER / f"{key}.json"
