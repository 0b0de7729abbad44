"""The rows of all evaluations, sorted into methods: trainings of one method that differ in their seed are one line."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from vseg_nas.results.benchmark import BenchmarkResult, BenchmarkRow
from vseg_nas.results.cell import UsedCell
from vseg_nas.results.evaluation import STATIC, EvaluationRow, EvaluationRun
from vseg_nas.results.names import dataset_label, training_names


@dataclass(frozen=True)
class Setting:
    """What some methods were measured on; only methods of one setting are compared.

    Attributes:
        dataset: name.
        split: name.
        size: of a frame, (H, W) in pixels.
        classes: by id.
        consistency_key_every: frames from key frame to key frame in the labels that temporal consistency is of.
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
    """Trainings of one method, or one row of something that is not trained; never empty."""

    label: str
    rows: tuple[EvaluationRow, ...]

    @property
    def trainings(self) -> int | None:
        """How many; None where nothing depends on a seed."""
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
        """What segments the frames that are no key frames."""
        return self.rows[0].cell

    @property
    def recipe(self) -> str | None:
        """How it was trained."""
        return self.rows[0].recipe


class _MethodRow(NamedTuple):
    row: EvaluationRow
    run: str


def measured_on(dataset: str, split: str, size: tuple[int, int] | None) -> str:
    """`CamVid val, 480x360`: width first, as the paper writes sizes; None for an unknown size."""
    where = f"{dataset_label(dataset)} {split}"
    return f"{where}, {frame_size(size)}" if size else f"{where}, size not stated"


def frame_size(size: tuple[int, int]) -> str:
    """(H, W) as width x height."""
    return f"{size[1]}\N{MULTIPLICATION SIGN}{size[0]}"


def methods(evaluations: Sequence[EvaluationRun]) -> dict[Setting, list[Method]]:
    """All methods by setting, in order of appearance. A row that several evaluations repeat counts once."""
    found: dict[Setting, dict[Hashable, dict[Hashable, _MethodRow]]] = defaultdict(dict)
    for run in evaluations:
        for row in run.results.rows:
            method, training = _identity(row)
            found[setting_of(run)].setdefault(method, {}).setdefault(training, _MethodRow(row, run.name))
    return {setting: _labelled([list(rows.values()) for rows in groups.values()]) for setting, groups in found.items()}


def setting_of(run: EvaluationRun) -> Setting:
    """What an evaluation was measured on."""
    results = run.results
    return Setting(results.dataset, results.split, results.size, results.classes, results.consistency_key_every)


def _identity(row: EvaluationRow) -> tuple[Hashable, Hashable]:
    """What makes it the same method, and the same training of it."""
    method = (row.cell.key if row.cell else row.group, row.recipe, row.trained_with)
    if row.seed is None:
        return (*method, row.pair), None  # two static networks are two methods, not two seeds of one
    return method, (row.seed, row.checkpoint)


def _labelled(groups: Sequence[Sequence[_MethodRow]]) -> list[Method]:
    """Methods named after their first row and, where names collide, after its evaluation or training."""
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
    """Of a cell, however it is named, and what it is given, or of the static network, however it was trained."""
    if not (method.cell or method.is_static or method.is_tuned_static):
        return None
    key = method.cell and method.cell.key
    return next((row for row in benchmark.rows if (row.cell and row.cell.key) == key), None)
