"""Settings of a search: space, budget, pruner and reward. Nothing here loads torch."""

from typing import Annotated, Literal

from pydantic import Field

from vseg_nas.data.settings import SplitMode
from vseg_nas.settings import EXECUTION, LATER, FolderName, Positive, PositiveNumber, Seed, Settings, Size
from vseg_nas.space.genotype import MAX_LAYERS, MAX_WIDTH
from vseg_nas.training.settings import CellStage
from vseg_nas.validation import expected


class SpaceSettings(Settings):
    """The search space (section 3.2).

    Attributes:
        name: The name of the space.
        width: The number of channels inside a cell, or ``native`` to keep those of its inputs.
        layers: The number of layers of a cell.
        vocabulary: The inputs, operations and aggregations of a cell, see `vseg_nas.space.vocabulary`.
    """

    name: FolderName
    width: Annotated[
        Annotated[int, Field(ge=1, le=MAX_WIDTH)] | Literal["native"],
        expected(f"a whole number from 1 to {MAX_WIDTH} or 'native'"),
    ]
    layers: Annotated[int, Field(ge=1, le=MAX_LAYERS)]
    vocabulary: Annotated[Literal["paper", "streaming"], LATER] = "paper"


class SearchPhase(CellStage):
    """The training of each candidate, the budget, and the meta split (section 4.1).

    Attributes:
        trials: The number of candidates.
        batch: The number of cells that are asked for at once.
        hours: The time in hours after which no cell is asked for; None means any.
        layers: The number of layers of a cell.
        split: The settings by which training clips are divided into meta-train and meta-val.
        split_seed: The seed of that division.
        val_fraction: The share of meta-val among the clips.
        val_size: Height and width to which frames are resized for scoring; None leaves them as they are.
        reference: Whether strategy, pruner and reward are those of the authors' code, to the letter.
    """

    trials: Annotated[Positive, EXECUTION]
    batch: Positive
    hours: Annotated[PositiveNumber | None, EXECUTION]
    layers: Annotated[int, Field(ge=1, le=MAX_LAYERS)]
    split: SplitMode
    split_seed: Seed
    val_fraction: Annotated[float, Field(gt=0, le=0.5)]
    val_size: Size | None
    reference: Annotated[bool, LATER] = False


class HalfwaySettings(Settings):
    """Candidates below the moving average are pruned half-way.

    Attributes:
        reference: Whether a cell above the average counts twice, as in the authors' code.
    """

    name: Literal["halfway"] = "halfway"
    reference: Annotated[bool, LATER] = False


class MedianSettings(Settings):
    """Candidates below the median are pruned half-way."""

    name: Literal["median"] = "median"


class NoPruningSettings(Settings):
    """Every candidate trains to the end."""

    name: Literal["none"] = "none"


PrunerSettings = Annotated[HalfwaySettings | MedianSettings | NoPruningSettings, Field(discriminator="name")]


class RewardSettings(Settings):
    """The reward of a candidate: the geometric mean of mIoU, fwIoU and mAcc (section 3.3).

    Attributes:
        failed: The reward of a failed candidate; with None the strategy is told of no reward.
        reference: Whether a class that is predicted and absent counts 2 in mAcc, as in the authors' code.
    """

    name: Literal["geometric_mean"] = "geometric_mean"
    failed: float | None
    reference: Annotated[bool, LATER] = False
