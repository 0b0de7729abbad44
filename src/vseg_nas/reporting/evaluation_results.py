"""What an evaluation leaves behind, read back with every key checked.

The file comes from `python -m vseg_nas.evaluate`. Scores are fractions, sizes (H, W) in pixels.
"""

import re
from dataclasses import dataclass
from pathlib import Path

from vseg_nas.reporting.json_object import JsonObject
from vseg_nas.reporting.used_cell import UsedCell, read_cell

EVALUATION_FILE = "evaluate.json"
EVALUATION_FORMAT = "vseg_nas.evaluation/2"
NEVER = "never"


@dataclass(frozen=True)
class Scores:
    """Scores of one protocol.

    Attributes:
        miou: mean intersection over union.
        fwiou: frequency-weighted intersection over union.
        macc: mean pixel accuracy.
        score: geometric mean of the three.
        iou_per_class: None for classes with an empty union.
    """

    miou: float
    fwiou: float
    macc: float
    score: float
    iou_per_class: tuple[float | None, ...]


@dataclass(frozen=True)
class Distance:
    """mIoU of the frames that lie `distance` or a little more frames after their key frame; None without any.

    The static network labels the same frames, each of them as a key frame of its own.
    """

    distance: int
    frames: int
    miou: float | None


@dataclass(frozen=True)
class Rolling:
    """The cell rolled over whole runs, with a new key frame every so many frames.

    Attributes:
        scores: over all frames.
        by_distance: by frames since the key frame.
        average: mean of the mIoUs by distance; None where nothing was scored.
        minimum: least of them.
    """

    scores: Scores
    by_distance: tuple[Distance, ...]
    average: float | None
    minimum: float | None


@dataclass(frozen=True)
class Consistency:
    """Temporal consistency.

    Attributes:
        correct: as we define it.
        reference: as the published script computes it.
        windows: how many `correct` covers.
        flow: that aligned the frames, if one did.
    """

    correct: float | None
    reference: float | None
    windows: int
    flow: str | None


@dataclass(frozen=True)
class Refused:
    """Why a consistency was not measured."""

    reason: str


@dataclass(frozen=True)
class EvaluationRow:
    """One method, or one training of it.

    Attributes:
        name: what was measured.
        group: the same for rows that differ in their seed only.
        seed: None where nothing is random.
        recipe: equal for trainings that differ in the cell, what it is given and the seed alone; None without training.
        trained_with: the cell of the training, what it is given and the recipe; None without training.
        checkpoint: path of the weights.
        cell: that labels the frames that are no key frames; None without one.
        parameters: of the whole network.
        cell_parameters: of the cell; 0 without one.
        macs: multiply-accumulate operations of a frame that is no key frame, where it matters which are.
        pair: the frame after a key frame.
        rolling: by the number of frames from key frame to key frame, or `NEVER`; empty without runs of labels.
        consistency: by name: vc8, vc16, tc; empty without runs of labels.
    """

    name: str
    group: str
    seed: int | None
    recipe: str | None
    trained_with: str | None
    checkpoint: str | None
    cell: UsedCell | None
    parameters: int
    cell_parameters: int
    macs: int
    pair: Scores
    rolling: dict[str, Rolling]
    consistency: dict[str, Consistency | Refused]


@dataclass(frozen=True)
class Panel:
    """A picture of an evaluation; `file` is relative to its folder."""

    file: str
    title: str
    row: str


@dataclass(frozen=True)
class EvaluationResults:
    """The whole of evaluate.json.

    Attributes:
        dataset: name.
        split: name.
        size: of a frame.
        classes: by id.
        consistency_key_every: frames from key frame to key frame in the labels that temporal consistency is of.
        rolling_refused: why whole runs were not labelled; None if they were.
        command: that made the file.
        machine: in words.
        date: of the end.
        seconds: that it took.
        rows: one a method or training.
        truth_consistency: of the truth itself, as that of a row.
        panels: pictures.
    """

    dataset: str
    split: str
    size: tuple[int, int]
    classes: tuple[str, ...]
    consistency_key_every: int
    rolling_refused: str | None
    command: str
    machine: str
    date: str
    seconds: float
    rows: tuple[EvaluationRow, ...]
    truth_consistency: dict[str, Consistency | Refused]
    panels: tuple[Panel, ...]


def read_evaluation(path: Path) -> EvaluationResults:
    """Reads evaluate.json.

    Raises:
        DataError: in one line: the file and key, what was found and what was expected.
    """
    file = JsonObject.read(path, EVALUATION_FORMAT)
    classes = file.texts("classes")
    height, width = file.integers("size", length=2)
    return EvaluationResults(
        dataset=file.text("dataset"),
        split=file.text("split"),
        size=(height, width),
        classes=classes,
        consistency_key_every=file.integer("consistency_key_every"),
        rolling_refused=_text(file, "rolling_refused"),
        command=file.text("command"),
        machine=file.text("machine"),
        date=file.text("date"),
        seconds=file.number("seconds"),
        rows=tuple(_evaluation_row(row, len(classes)) for row in file.children("rows")),
        truth_consistency=_consistencies(file, "truth_consistency"),
        panels=tuple(Panel(p.text("file"), p.text("title"), p.text("row")) for p in file.children("panels")),
    )


def check_row(path: Path, row: object, classes: int) -> None:
    """Refuses a row that `read_evaluation` would.

    Raises:
        DataError: in one line: the file and key, what was found and what was expected.
    """
    _evaluation_row(JsonObject(path, row, "row"), classes)


def _evaluation_row(row: JsonObject, classes: int) -> EvaluationRow:
    return EvaluationRow(
        name=row.text("name"),
        group=row.text("group"),
        seed=None if row.is_null("seed") else row.integer("seed"),
        recipe=_text(row, "recipe"),
        trained_with=_text(row, "trained_with"),
        checkpoint=_text(row, "checkpoint"),
        cell=read_cell(row),
        parameters=row.integer("parameters"),
        cell_parameters=row.integer("cell_parameters"),
        macs=row.integer("macs"),
        pair=_scores(row.child("pair"), classes),
        rolling={_every(row, key): _rolling(value, classes) for key, value in row.mapping("rolling").items()},
        consistency=_consistencies(row, "consistency"),
    )


def _consistencies(parent: JsonObject, key: str) -> dict[str, Consistency | Refused]:
    return {name: _consistency(value) for name, value in parent.mapping(key).items()}


def _text(parent: JsonObject, key: str) -> str | None:
    return None if parent.is_null(key) else parent.text(key)


def _every(row: JsonObject, key: str) -> str:
    if key != NEVER and not re.fullmatch(r"[1-9][0-9]{0,8}", key):
        row.fail("rolling", f"found the key {key[:40]!r}, expected a number of frames or '{NEVER}'")
    return key


def _scores(scores: JsonObject, classes: int) -> Scores:
    per_class = scores.fractions("iou_per_class")
    if len(per_class) != classes:
        scores.fail("iou_per_class", f"found {len(per_class)} values, expected {classes}, one a class")
    miou, fwiou, macc, score = (scores.fraction(name) for name in ("miou", "fwiou", "macc", "score"))
    return Scores(miou, fwiou, macc, score, per_class)


def _rolling(rolling: JsonObject, classes: int) -> Rolling:
    by_distance = tuple(
        Distance(d.integer("distance"), d.integer("frames"), _fraction(d, "miou"))
        for d in rolling.children("by_distance")
    )
    return Rolling(_scores(rolling, classes), by_distance, _fraction(rolling, "average"), _fraction(rolling, "minimum"))


def _fraction(parent: JsonObject, key: str) -> float | None:
    return None if parent.is_null(key) else parent.fraction(key)


def _consistency(value: JsonObject) -> Consistency | Refused:
    if value.has("refused"):
        return Refused(value.text("refused"))
    correct, reference = _fraction(value, "correct"), _fraction(value, "reference")
    return Consistency(correct, reference, value.integer("windows"), _text(value, "flow"))
