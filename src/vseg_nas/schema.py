"""The configuration of each command, composed of the settings of its parts. Nothing here loads torch."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from vseg_nas.data.settings import DatasetSettings
from vseg_nas.errors import ConfigError
from vseg_nas.models.settings import Past, StaticSettings
from vseg_nas.nas.executors.settings import ExecutorSettings
from vseg_nas.nas.settings import PrunerSettings, RewardSettings, SearchPhase, SpaceSettings
from vseg_nas.nas.strategies.settings import StrategySettings
from vseg_nas.settings import (
    AVERAGED_OVER,
    COSMETIC,
    EXECUTION,
    INPUT,
    FolderName,
    Paths,
    Positive,
    Seed,
    Settings,
    Share,
    Size,
    Text,
)
from vseg_nas.tracking.settings import LoggerSettings
from vseg_nas.training.settings import DeviceSettings, FinalTraining, StaticTraining
from vseg_nas.video.settings import KeySettings


class PhaseConfig(Settings):
    """The numbers of every phase for one data set.

    Attributes:
        name: The name of the choice.
        pretrain: The training of the static network (section 6).
        search: The training and scoring of candidates (section 4.1).
        train: The two stages of a found cell's training (section 4.2).
    """

    name: FolderName
    pretrain: Annotated[StaticTraining, AVERAGED_OVER]
    search: SearchPhase
    train: Annotated[FinalTraining, AVERAGED_OVER]


class CommandConfig(Settings):
    """The settings that every command has."""

    debug: Annotated[bool, COSMETIC]


class NamedCommandConfig(CommandConfig):
    """What every command has that names its run and runs no static network."""

    runs_dir: Annotated[Text, COSMETIC]
    name: Annotated[FolderName, COSMETIC]


class NetworkConfig(CommandConfig):
    """What every command has that runs the static network on a data set."""

    dataset: DatasetSettings
    phase: PhaseConfig
    gpu: Annotated[DeviceSettings, AVERAGED_OVER]
    static: StaticSettings
    runs_dir: Annotated[Text, COSMETIC]


class PretrainConfig(NetworkConfig):
    """The configuration of `pretrain`."""

    seed: Annotated[Seed, AVERAGED_OVER]
    resume: Annotated[Text | None, EXECUTION]


class SearchConfig(PretrainConfig):
    """The configuration of `search`."""

    space: SpaceSettings
    strategy: StrategySettings
    executor: Annotated[ExecutorSettings, EXECUTION]
    pruner: PrunerSettings
    reward: RewardSettings
    logger: Annotated[LoggerSettings, EXECUTION]
    name: Annotated[FolderName, COSMETIC]


class TrainConfig(PretrainConfig):
    """The configuration of `train`."""

    cell: Annotated[Text, INPUT]
    past: Past
    flow: bool
    logger: Annotated[LoggerSettings, EXECUTION]
    name: Annotated[FolderName, COSMETIC]

    @model_validator(mode="after")
    def _warps_what_is_there(self) -> Self:
        if self.flow and self.past != "previous":
            raise ConfigError(
                f"flow: found true with past={self.past}, expected past=previous: only that can be warped"
            )
        return self


class EvaluateConfig(NetworkConfig):
    """The configuration of `evaluate`."""

    checkpoint: Annotated[Paths, INPUT]
    split: Literal["train", "val", "test"]
    size: Size | None
    baselines: bool
    resume: Annotated[Text | None, EXECUTION]
    panels: Annotated[int, Field(ge=0, le=20)]
    logger: Annotated[LoggerSettings, EXECUTION]
    name: Annotated[FolderName, COSMETIC]


class ReportConfig(NamedCommandConfig):
    """The configuration of `report`."""

    run: Paths


class CheckConfig(NamedCommandConfig):
    """The configuration of `check`."""

    dataset: DatasetSettings
    threads: Annotated[int, Field(ge=1, le=256)] | None


class CompareConfig(CommandConfig):
    """The configuration of `compare`."""

    run: Text
    name: Annotated[FolderName, COSMETIC]
    seed: Seed
    random_cells: Positive
    repeats: Positive


class BenchmarkConfig(NamedCommandConfig):
    """The configuration of `benchmark`."""

    checkpoint: Paths | None
    cell: Text | None
    flow: bool
    classes: Annotated[int, Field(ge=2, le=254)] | None
    size: Size
    optimize: bool
    repeats: Positive
    warmup: Positive
    gpu: DeviceSettings


class PredictConfig(NamedCommandConfig):
    """The configuration of `predict`."""

    source: Text
    checkpoint: Text | None
    runtime: Literal["torch", "onnx"]
    key: KeySettings
    size: Size | None
    rate: Annotated[float, Field(ge=1e-4, le=1000)]
    frames: Positive | None
    overlay: bool
    opacity: Share
    labels: bool
    gpu: DeviceSettings


_GraphSide = Annotated[int, Field(ge=64)]


class ExportConfig(NamedCommandConfig):
    """The configuration of `export`."""

    checkpoint: Text | None
    format: Literal["onnx", "pt2"]
    output: Literal["logits", "labels"]
    size: Annotated[tuple[_GraphSide, _GraphSide], Field(strict=False)] | None
