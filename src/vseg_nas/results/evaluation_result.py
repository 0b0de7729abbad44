"""What `evaluate` leaves: the scores of static networks and cells on one split."""

from typing import Annotated, ClassVar, Literal, Self, TypeAlias

from pydantic import Field, model_validator

from vseg_nas.results.result import Amount, Count, Record, Result, ResultRun, Seed, Size, Text
from vseg_nas.results.scores import AnyConsistency, RollingScores, SegmentationScores
from vseg_nas.results.used_cell import CellRecord
from vseg_nas.validators import expected, refused

KEY_EVERY: tuple[int | None, ...] = (1, 2, 5, None)
"""Numbers of frames from one key frame to the next in full sequences; None means only the first is a key frame."""
CONSISTENCY_KEY_EVERY = 5
"""The one for which temporal consistency is measured, and which tables and figures show. It is closest to practice, in
which key frames come now and then."""

STATIC = "static per frame"
COPIED = "previous labels copied"
WARPED = "previous labels warped by flow"
AVERAGED = "average of static logits over time"
AVERAGED_BY_FLOW = "average of static logits along flow"
"""Names of rows of the static network; those of one that was trained on end with a comma and how it was trained."""


def rolling_key(key_every: int | None) -> str:
    """Returns the key of `EvaluationRow.rolling` for a number of frames from one key frame to the next."""
    return "never" if key_every is None else str(key_every)


SHOWN_KEY = rolling_key(CONSISTENCY_KEY_EVERY)

RollingKey = Annotated[str, Field(pattern="^([1-9][0-9]{0,8}|never)$"), expected("a number of frames or 'never'")]
"""A value of `rolling_key`."""


class EvaluationRow(CellRecord):
    """One method, or one training of it. Its cell labels the frames that are not key frames.

    Attributes:
        name: The name of what was measured.
        group: Name in tables; rows that differ in their seed alone share it.
        seed: Seed of the training; None for a method that is not trained.
        recipe: Equal for trainings that differ in the cell, what it is given and the seed alone; None without training.
        trained_with: The cell of the training, what it is given and the recipe; None without training.
        checkpoint: Path of the weights.
        parameters: Number of parameters of the whole network.
        cell_parameters: Number of parameters of the cell; 0 without one.
        macs: Multiply-accumulate operations of a frame that is not a key frame; if all are, of a key frame.
        pair: Scores of the frame after a key frame.
        rolling: Scores of full sequences by `rolling_key`; empty without labelled sequences.
        consistency: The temporal consistency by name (vc8, vc16, tc); empty without labelled sequences.
    """

    name: Text
    group: Text
    seed: Seed | None
    recipe: Text | None
    trained_with: Text | None
    checkpoint: Text | None
    parameters: Count
    cell_parameters: Count
    macs: Count
    pair: SegmentationScores
    rolling: dict[RollingKey, RollingScores]
    consistency: dict[str, AnyConsistency]

    def wrong_classes(self, classes: int) -> str | None:
        """Returns the error, key first, if scores have another number of classes; None if none have."""
        scores = {"pair": self.pair} | {f"rolling.{every}": rolled for every, rolled in self.rolling.items()}
        for name, found in scores.items():
            if (count := len(found.iou_per_class)) != classes:
                return f"{name}.iou_per_class: found {count} values, expected {classes}, one a class"
        return None


class Panel(Record):
    """A picture of an evaluation.

    Attributes:
        file: Path of a PNG file, relative to the directory of the run.
        title: The title of the picture.
        row: Group of the row that it shows beside the static network.
    """

    file: Text
    title: Text
    row: Text


class EvaluationResult(Result):
    """The whole of evaluate.json.

    Attributes:
        dataset: Name of the data set.
        split: Name of the split.
        size: Height and width of a frame.
        classes: Names by id.
        consistency_key_every: Number of frames from one key frame to the next for temporal consistency.
        rolling_skip_reason: Why full sequences were not labelled; None if they were.
        machine: Device, in words.
        seconds: The duration of the evaluation in seconds.
        rows: A row for each method or training.
        truth_consistency: Temporal consistency of the ground truth itself, in the form of a row's.
        panels: The pictures.
    """

    FILE: ClassVar[str] = "evaluate.json"

    format: Literal["vseg_nas.evaluation/2"] = "vseg_nas.evaluation/2"
    dataset: Text
    split: Text
    size: Size
    classes: tuple[Text, ...]
    consistency_key_every: Count
    rolling_skip_reason: Annotated[Text | None, Field(alias="rolling_skip_reason")]
    machine: Text
    seconds: Amount
    rows: tuple[EvaluationRow, ...]
    truth_consistency: dict[str, AnyConsistency]
    panels: tuple[Panel, ...]

    @model_validator(mode="after")
    def _has_an_iou_a_class(self) -> Self:
        for index, row in enumerate(self.rows):
            if problem := row.wrong_classes(len(self.classes)):
                raise refused(f"rows[{index}].{problem}")
        return self


EvaluationRun: TypeAlias = ResultRun[EvaluationResult]
