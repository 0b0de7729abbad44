"""What `train` leaves: the scores of a trained cell, or of the static network trained in its place."""

from typing import ClassVar, Literal

from vseg_nas.results.result import Amount, Count, Result, Seed, Text
from vseg_nas.results.scores import SegmentationScores
from vseg_nas.results.used_cell import CellRecord


class TrainingResult(Result, CellRecord):
    """The whole of train.json.

    Attributes:
        dataset: Name of the data set.
        classes: Names by id.
        group: Name in tables; trainings that differ in their seed alone share it.
        recipe: Equal for trainings that differ in the cell, what it is given and the seed alone.
        seed: Seed of the training.
        parameters: Number of parameters of the whole network.
        checkpoint: File of the trained network, in the directory of the run.
        val: Scores of the frames after the first on pairs of the validation split.
        machine: Device, in words.
        seconds: The seconds since it was last begun or resumed.
    """

    FILE: ClassVar[str] = "train.json"

    format: Literal["vseg_nas.train/1"] = "vseg_nas.train/1"
    dataset: Text
    classes: tuple[Text, ...]
    group: Text
    recipe: Text
    seed: Seed
    parameters: Count
    checkpoint: Text
    val: SegmentationScores
    machine: Text
    seconds: Amount
