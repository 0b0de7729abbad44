"""What `compare` leaves: the best cell of a search beside baselines."""

from typing import ClassVar, Literal

from vseg_nas.results.result import Count, Result, Seed, Text
from vseg_nas.results.scores import SegmentationScores
from vseg_nas.results.used_cell import CellRecord

RANDOM_CELL = "random cell"
"""Name of the rows of random cells; tables show their median."""


class ComparisonRow(CellRecord):
    """A static network, or one training of a cell.

    Attributes:
        name: The name of what was measured.
        seed: Seed of the training; None if nothing is trained.
        parameters: Number of parameters of the cell; 0 without one.
        meta_val: Scores on meta-val.
        val: Scores on the validation split, pairs of successive frames.
    """

    name: Text
    seed: Seed | None
    parameters: Count
    meta_val: SegmentationScores
    val: SegmentationScores


class ComparisonResult(Result):
    """The whole of compare.json.

    Attributes:
        dataset: Name of the data set.
        search: Directory of the search.
        rows: Everything that was measured so far.
    """

    FILE: ClassVar[str] = "compare.json"

    format: Literal["vseg_nas.compare/1"] = "vseg_nas.compare/1"
    dataset: Text
    search: Text
    rows: tuple[ComparisonRow, ...]
