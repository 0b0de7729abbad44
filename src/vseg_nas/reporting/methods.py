"""The rows of all evaluations, sorted into methods: trainings of one method that differ in their seed are one line."""

from collections import defaultdict
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

from vseg_nas.reporting.evaluation_results import EvaluationRow
from vseg_nas.reporting.palette import DATASETS
from vseg_nas.reporting.runs import EvaluationRun

STATIC = "static per frame"
"""The name of the row of the static network."""
COPIED = "previous labels copied"
WARPED = "previous labels warped by flow"
TUNED = ", fine-tuned"
"""Ends the names of rows of the static network that was trained along with a cell."""


@dataclass(frozen=True)
class Setting:
    """What some methods were measured on; only methods of one setting are compared.

    Attributes:
        dataset: name.
        split: name.
        size: of a frame, (H, W) in pixels.
        classes: by id.
    """

    dataset: str
    split: str
    size: tuple[int, int]
    classes: tuple[str, ...]

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
        """Whether it is the static network, run on every frame."""
        return self.rows[0].name == STATIC

    @property
    def has_cell(self) -> bool:
        """Whether a cell segments the frames that are no key frames."""
        return bool(self.rows[0].expression)


def measured_on(dataset: str, split: str, size: tuple[int, int] | None) -> str:
    """`CamVid val, 480x360`: width first, as the paper writes sizes; None for an unknown size."""
    where = f"{DATASETS.get(dataset, dataset)} {split}"
    return f"{where}, {frame_size(size)}" if size else f"{where}, size not stated"


def frame_size(size: tuple[int, int]) -> str:
    """(H, W) as width x height."""
    return f"{size[1]}\N{MULTIPLICATION SIGN}{size[0]}"


def methods(evaluations: Sequence[EvaluationRun]) -> dict[Setting, list[Method]]:
    """All methods by setting, in order of appearance. A row that several evaluations repeat counts once."""
    found: dict[Setting, dict[Hashable, dict[Hashable, tuple[EvaluationRow, str]]]] = defaultdict(dict)
    for run in evaluations:
        for row in run.results.rows:
            method, training = _identity(row)
            found[setting_of(run)].setdefault(method, {}).setdefault(training, (row, run.name))
    return {setting: _labelled(list(groups.values())) for setting, groups in found.items()}


def setting_of(run: EvaluationRun) -> Setting:
    """What an evaluation was measured on."""
    results = run.results
    return Setting(results.dataset, results.split, results.size, results.classes)


def _identity(row: EvaluationRow) -> tuple[Hashable, Hashable]:
    """What makes it the same method, and the same training of it."""
    method = (row.group, row.expression, row.past)
    if row.seed is None:
        return (*method, row.pair), None  # two static networks are two methods, not two seeds of one
    return method, (row.seed, row.checkpoint)


def _labelled(groups: Sequence[dict[Hashable, tuple[EvaluationRow, str]]]) -> list[Method]:
    members = [list(group.values()) for group in groups]
    labels = [m[0][0].group for m in members]
    return [
        Method(label if labels.count(label) == 1 else f"{label} ({m[0][1]})", tuple(row for row, _ in m))
        for label, m in zip(labels, members, strict=True)
    ]
