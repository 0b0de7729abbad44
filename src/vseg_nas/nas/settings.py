"""Settings of a search: space, budget, pruner and reward. Nothing here loads torch."""

from dataclasses import dataclass
from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from vseg_nas.data.settings import SplitMode
from vseg_nas.errors import ConfigError
from vseg_nas.settings import EXECUTION, LATER, Amount, FolderName, Positive, PositiveNumber, Seed, Settings, Size
from vseg_nas.space.genotype import MAX_LAYERS, MAX_WIDTH
from vseg_nas.training.settings import CellStage
from vseg_nas.validators import expected


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
    """Candidates below the moving average are pruned half-way, unless a random draw keeps them.

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


class CostSettings(Settings):
    """What a frame costs on average over the key-frame period, as a share of the static network's frame.

    Both are timed by turns, as they would be deployed: batch norms folded, encoder stages that nothing reads left out.

    Attributes:
        size: Height and width of the frame that is timed; None measures nothing.
        repeats: The number of timed frames of each kind, after two that are not.
        budget: The cost above which the reward falls; None lets the reward depend on the score alone.
        exponent: How steeply it falls: the score is multiplied by (budget / cost) to this power.
    """

    size: Size | None = None
    repeats: Positive = 10
    budget: PositiveNumber | None = None
    exponent: Amount = 0.5

    @model_validator(mode="after")
    def _measures_what_is_limited(self) -> Self:
        if self.budget is not None and self.size is None:
            raise ConfigError("reward.cost.size: found null with a budget, expected height and width to measure at")
        return self


class GeometricMeanSettings(Settings):
    """The reward of a candidate: the geometric mean of mIoU, fwIoU and mAcc over frames after the first (section 3.3).

    Attributes:
        failed: The reward of a failed candidate; with None the strategy is told of no reward.
        reference: Whether a class that is predicted and absent counts 2 in mAcc, as in the authors' code.
        key_every: The number of frames from one key frame to the next, for the average cost of a frame.
        cost: The cost of a frame.
    """

    name: Literal["geometric_mean"] = "geometric_mean"
    failed: float | None = None
    reference: Annotated[bool, LATER] = False
    key_every: Annotated[int, Field(ge=2, le=20), LATER] = 5
    cost: Annotated[CostSettings, LATER] = CostSettings()


class RollingSettings(Settings):
    """The reward of a candidate on clips at video rate that begin with a key frame, by the distance from it.

    Meta-val is made of single labelled frames, see `vseg_nas.data.settings.MotionSettings`.

    Attributes:
        failed: The reward of a failed candidate; with None the strategy is told of no reward.
        reference: Whether a class that is predicted and absent counts 2 in mAcc, as in the authors' code.
        key_every: The number of frames from one key frame to the next: distances 1 to ``key_every - 1`` are scored.
        over: Whether the mean over the distances counts, or the worst of them.
        steadiness: The exponent of the steadiness by which the score is multiplied; 0 leaves it out.
        cost: The cost of a frame.
    """

    name: Literal["rolling"] = "rolling"
    failed: float | None
    reference: bool
    key_every: Annotated[int, Field(ge=2, le=20)]
    over: Literal["mean", "minimum"]
    steadiness: Amount
    cost: CostSettings


RewardSettings = Annotated[GeometricMeanSettings | RollingSettings, Field(discriminator="name")]


@dataclass(frozen=True)
class Budget:
    """The number of trials and of hours after which no cell is asked for.

    Attributes:
        trials: The number of trials, whatever becomes of them.
        hours: The number of hours over all sessions of a run; None sets no limit.
    """

    trials: int
    hours: float | None = None
