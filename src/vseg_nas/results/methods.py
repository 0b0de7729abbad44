"""Groups the rows of evaluations into methods: trainings of one method that differ only in the seed are one method."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vseg_nas.results.evaluation_result import STATIC, EvaluationRow, EvaluationRun
from vseg_nas.results.names import dataset_label, training_names
from vseg_nas.results.runtime import BenchmarkResult, BenchmarkRow
from vseg_nas.results.used_cell import UsedCell


@dataclass(frozen=True)
class Setting:
    """The data and frames that methods were measured on; only methods of one setting are compared.

    Attributes:
        dataset: The name of the data set.
        split: The name of the split.
        size: The size of a frame, (H, W) in pixels.
        classes: The names of the classes, in the order of their ids.
        consistency_key_every: The number of frames from one key frame to the next for temporal consistency.
    """

    dataset: str
    split: str
    size: tuple[int, int]
    classes: tuple[str, ...]
    consistency_key_every: int

    def __str__(self) -> str:
        return measured_on(self.dataset, self.split, self.size)


@dataclass(frozen=True)
class Method:
    """The trainings of one method, or the one row of a method that is not trained."""

    label: str
    rows: tuple[EvaluationRow, ...]

    @property
    def trainings(self) -> int | None:
        """The number of trainings; None for a method that does not depend on a seed."""
        return None if self.rows[0].seed is None else len(self.rows)

    @property
    def is_static(self) -> bool:
        """Whether it is the static network as it was pre-trained, run on every frame."""
        return self.rows[0].group == STATIC

    @property
    def is_tuned_static(self) -> bool:
        """Whether it is the static network trained on by the recipe of a cell, run on every frame."""
        return self.rows[0].group.startswith(f"{STATIC}, ")

    @property
    def cell(self) -> UsedCell | None:
        """The cell that labels the frames that are not key frames; None for a method without a cell."""
        return self.rows[0].cell

    @property
    def recipe(self) -> str | None:
        """The digest of the settings of the training; None without training."""
        return self.rows[0].recipe


class _MethodRow(NamedTuple):
    row: EvaluationRow
    run: str


def measured_on(dataset: str, split: str, size: tuple[int, int] | None) -> str:
    """Returns a text such as ``CamVid val, 480×360``, width first as in the paper; a size of None is unknown."""
    where = f"{dataset_label(dataset)} {split}"
    return f"{where}, {frame_size(size)}" if size else f"{where}, size not stated"


def frame_size(size: tuple[int, int]) -> str:
    """Returns (H, W) as width × height."""
    return f"{size[1]}\N{MULTIPLICATION SIGN}{size[0]}"


def methods(evaluations: Sequence[EvaluationRun]) -> dict[Setting, list[Method]]:
    """Returns all methods by setting, in order of appearance. A row that several evaluations repeat counts once."""
    found: dict[Setting, dict[Hashable, dict[Hashable, _MethodRow]]] = defaultdict(dict)
    for run in evaluations:
        for row in run.results.rows:
            method, training = _identity(row)
            found[setting_of(run)].setdefault(method, {}).setdefault(training, _MethodRow(row, run.name))
    return {setting: _labelled([list(rows.values()) for rows in groups.values()]) for setting, groups in found.items()}


def setting_of(run: EvaluationRun) -> Setting:
    """Returns the setting of an evaluation."""
    results = run.results
    return Setting(results.dataset, results.split, results.size, results.classes, results.consistency_key_every)


def _identity(row: EvaluationRow) -> tuple[Hashable, Hashable]:
    """Returns what identifies the method of a row, and its training."""
    method = (row.cell.key if row.cell else row.group, row.recipe, row.trained_with)
    if row.seed is None:
        return (*method, row.pair), None  # two static networks are two methods, not two seeds of one
    return method, (row.seed, row.checkpoint)


def _labelled(groups: Sequence[Sequence[_MethodRow]]) -> list[Method]:
    """Names methods after their first row and, if names collide, after its evaluation or training."""
    first = [group[0] for group in groups]
    labels = []
    for row, run in first:
        twins = [other for other in first if other.row.group == row.group]
        if len(twins) == 1:
            labels.append(row.group)
        elif len({twin.run for twin in twins}) == len(twins) or row.checkpoint is None:
            labels.append(f"{row.group} ({run})")
        else:
            names = training_names([Path(twin.row.checkpoint) for twin in twins if twin.row.checkpoint])
            labels.append(f"{row.group} ({run}, {names[Path(row.checkpoint)]})")
    return [Method(label, tuple(row for row, _ in group)) for label, group in zip(labels, groups, strict=True)]


def measured_row(method: Method, benchmark: BenchmarkResult) -> BenchmarkRow | None:
    """Returns the latency of a method's cell and past, whatever its name, or of the static network, however trained."""
    if not (method.cell or method.is_static or method.is_tuned_static):
        return None
    key = method.cell and method.cell.key
    return next((row for row in benchmark.rows if (row.cell and row.cell.key) == key), None)
