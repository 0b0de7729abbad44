"""The typed configuration: one dataclass per option of a Hydra group, with ranges. Pure data.

`config.py` checks a composed configuration against these. A field's ``metadata`` may hold ``min``, ``max``, ``above``
(exclusive minimum), ``choices`` and ``length`` (of a list; the range then holds for each element).
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any


def limits(
    low: float | None = None, high: float | None = None, above: float | None = None, length: int | None = None
) -> dict[str, Any]:
    """Metadata of a number, or of a list of numbers, with a range."""
    return {"min": low, "max": high, "above": above, "length": length}


def one_of(*choices: str) -> dict[str, Any]:
    """Metadata of a string with a closed set of values."""
    return {"choices": choices}


SEED = limits(0, 2**63 - 1)
"""Metadata of a seed: what records hold."""
STRINGS: dict[str, Any] = {"strings": True}
"""Metadata of a list of strings that may be given as one string."""
OPTIONAL_STRINGS: dict[str, Any] = STRINGS | {"optional": True}
"""The same, that may be null."""
FOLDER_NAME: dict[str, Any] = {"folder_name": True}
"""Metadata of a string that a folder is called, such as the name of a run: one part of a path."""


@dataclass
class SyntheticConfig:
    """Rendered street scenes; needs no files."""

    name: str = field(metadata=one_of("synthetic"))
    length: int = field(metadata=limits(2, 3))
    frames_per_run: int = field(metadata=limits(2))
    clips: int = field(metadata=limits(2))
    val_clips: int = field(metadata=limits(1))
    size: list[int] = field(metadata=limits(32, length=2))
    seed: int = field(metadata=SEED)


@dataclass
class CamVidConfig:
    """CamVid, SegNet layout."""

    name: str = field(metadata=one_of("camvid"))
    root: str | None = field()
    length: int = field(metadata=limits(2, 3))
    stride: int = field(metadata=limits(1))


@dataclass
class CityScapesConfig:
    """CityScapes, official layout."""

    name: str = field(metadata=one_of("cityscapes"))
    root: str | None = field()
    length: int = field(metadata=limits(2, 2))


@dataclass
class TransformConfig:
    """Random scale, padding to the crop where smaller, random crop, mirror, colour."""

    scale: list[float] = field(metadata=limits(above=0, length=2))
    crop: list[int] = field(metadata=limits(32, length=2))
    flip: bool = field()
    jitter: float = field(metadata=limits(0, 0.9))


@dataclass
class PretrainPhase:
    """Training of the static network (paper, section 6)."""

    epochs: int = field(metadata=limits(1))
    batch_size: int = field(metadata=limits(1))
    encoder_weights: str | None = field()
    encoder_lr: float = field(metadata=limits(above=0))
    decoder_lr: float = field(metadata=limits(above=0))
    momentum: float = field(metadata=limits(0, 1))
    weight_decay: float = field(metadata=limits(0))
    power: float = field(metadata=limits(0))
    auxiliary_weight: float = field(metadata=limits(0))
    gradient_clip: float = field(metadata=limits(above=0))
    average_decay: float | None = field(metadata=limits(0, 1))
    val_every: int = field(metadata=limits(1))
    transform: TransformConfig = field()


@dataclass
class CellStage:
    """A cell alone, on cached features (paper, sections 4.1 and 4.2)."""

    epochs: int = field(metadata=limits(1))
    batch_size: int = field(metadata=limits(1))
    lr: float = field(metadata=limits(above=0))
    weight_decay: float = field(metadata=limits(0))
    schedule: str = field(metadata=one_of("constant", "poly"))
    gradient_clip: float = field(metadata=limits(above=0))
    transform: TransformConfig = field()


@dataclass
class SearchPhase(CellStage):
    """The budget, the meta split and the training of candidates (paper, section 4.1)."""

    trials: int = field(metadata=limits(1))
    batch: int = field(metadata=limits(1))
    hours: float | None = field(metadata=limits(above=0))
    layers: int = field(metadata=limits(1, 10))
    split: str = field(metadata=one_of("random", "by_run"))
    split_seed: int = field(metadata=SEED)
    val_fraction: float = field(metadata=limits(above=0, high=0.5))
    val_size: list[int] | None = field(metadata=limits(32, length=2))
    reference: bool = field(default=False)


@dataclass
class VideoStage:
    """The whole network on frames (paper, section 4.2)."""

    epochs: int = field(metadata=limits(0))
    batch_size: int = field(metadata=limits(1))
    cell_lr: float = field(metadata=limits(above=0))
    static_lr: float = field(metadata=limits(above=0))
    momentum: float = field(metadata=limits(0, 1))
    weight_decay: float = field(metadata=limits(0))
    power: float = field(metadata=limits(0))
    static_weight: float = field(metadata=limits(0))
    gradient_clip: float = field(metadata=limits(above=0))
    val_every: int = field(metadata=limits(1))
    transform: TransformConfig = field()


@dataclass
class TrainPhase:
    """The two stages of a found cell's training."""

    val_size: list[int] | None = field(metadata=limits(32, length=2))
    cell: CellStage = field()
    video: VideoStage = field()


@dataclass
class PhaseConfig:
    """The numbers of every phase for one data set."""

    name: str = field(metadata=FOLDER_NAME)
    pretrain: PretrainPhase = field()
    search: SearchPhase = field()
    train: TrainPhase = field()


@dataclass
class GpuConfig:
    """Where and how precisely to compute."""

    name: str = field(metadata=FOLDER_NAME)
    accelerator: str = field(metadata=one_of("auto", "cpu", "cuda"))
    precision: str = field(metadata=one_of("32-true", "bf16-mixed", "16-mixed"))
    workers: int = field(metadata=limits(0))
    threads: int | None = field(metadata=limits(1))
    cache_precision: str = field(metadata=one_of("fp32", "fp16"))
    devices: int | None = field(default=1, metadata=limits(1))


@dataclass
class StaticConfig:
    """The static network and its weights."""

    name: str = field(metadata=FOLDER_NAME)
    encoder_weights: str | None = field()
    weights: str = field()


@dataclass
class SpaceConfig:
    """The search space (paper, section 3.2)."""

    name: str = field(metadata=FOLDER_NAME)
    width: int | str = field()
    layers: int = field(metadata=limits(1, 10))


@dataclass
class PPOConfig:
    """Proximal policy optimisation."""

    name: str = field(metadata=one_of("ppo"))
    feedback: str = field(metadata=one_of("hidden", "token"))
    learning_rate: float = field(metadata=limits(above=0))
    clip: float = field(metadata=limits(above=0, high=1))
    buffer_size: int = field(metadata=limits(1))
    minibatch_size: int = field(metadata=limits(1))
    baseline_decay: float = field(metadata=limits(0, 1))
    max_grad_norm: float = field(metadata=limits(above=0))
    entropy_coef: float = field(metadata=limits(0))
    reference: bool = field(default=False)


@dataclass
class ReinforceConfig:
    """Policy gradient with a moving-average baseline."""

    name: str = field(metadata=one_of("reinforce"))
    feedback: str = field(metadata=one_of("hidden", "token"))
    learning_rate: float = field(metadata=limits(above=0))
    baseline_decay: float = field(metadata=limits(0, 1))
    max_grad_norm: float = field(metadata=limits(above=0))
    entropy_coef: float = field(metadata=limits(0))


@dataclass
class RandomConfig:
    """Uniform sampling of tokens."""

    name: str = field(metadata=one_of("random"))


@dataclass
class SerialConfig:
    """Candidates in the process of the search."""

    name: str = field(metadata=one_of("serial"))


@dataclass
class IsolatedConfig:
    """Candidates in child processes."""

    name: str = field(metadata=one_of("isolated"))
    limit_s: float | None = field(metadata=limits(above=0))
    memory_gib: float | None = field(metadata=limits(above=0))
    workers: int = field(default=1, metadata=limits(1))


@dataclass
class RayConfig:
    """Candidates side by side, on all devices of a machine or of a Ray cluster."""

    name: str = field(metadata=one_of("ray"))
    mode: str = field(metadata=one_of("batch", "async"))
    address: str | None = field(default=None)
    workers: int | None = field(default=None, metadata=limits(1))
    gpus_per_candidate: float = field(default=1.0, metadata=limits(above=0, high=1))
    cpus_per_candidate: float = field(default=1.0, metadata=limits(above=0))
    limit_s: float | None = field(default=None, metadata=limits(above=0))


@dataclass
class HalfwayConfig:
    """Candidates below the moving average are given up half-way."""

    name: str = field(metadata=one_of("halfway"))
    reference: bool = field(default=False)


@dataclass
class MedianConfig:
    """Candidates below the median are given up half-way."""

    name: str = field(metadata=one_of("median"))


@dataclass
class NoStoppingConfig:
    """Every candidate trains to the end."""

    name: str = field(metadata=one_of("none"))


@dataclass
class RewardConfig:
    """What the strategy is told."""

    name: str = field(metadata=one_of("geometric_mean"))
    failed: float | None = field(metadata=limits())
    reference: bool = field(default=False)


@dataclass
class LoggerConfig:
    """Weights & Biases."""

    name: str = field(metadata=one_of("auto", "online", "offline", "none"))
    project: str = field()
    group: str | None = field()


@dataclass
class EveryKeyConfig:
    """Key frames at a steady pace."""

    name: str = field(metadata=one_of("every"))
    every: int | None = field(metadata=limits(1))


@dataclass
class AdaptiveKeyConfig:
    """Key frames where they are needed."""

    name: str = field(metadata=one_of("adaptive"))
    every: int | None = field(metadata=limits(1))
    cut: float = field(metadata=limits(above=0))
    drop: float = field(metadata=limits(above=0))


DatasetConfig = SyntheticConfig | CamVidConfig | CityScapesConfig
StrategyConfig = PPOConfig | ReinforceConfig | RandomConfig
ExecutorConfig = SerialConfig | IsolatedConfig | RayConfig
KeyConfig = EveryKeyConfig | AdaptiveKeyConfig

OPTIONS: dict[str, dict[str, type]] = {
    "dataset": {"synthetic": SyntheticConfig, "camvid": CamVidConfig, "cityscapes": CityScapesConfig},
    "strategy": {"ppo": PPOConfig, "reinforce": ReinforceConfig, "random": RandomConfig},
    "stopping": {"halfway": HalfwayConfig, "median": MedianConfig, "none": NoStoppingConfig},
    "executor": {"serial": SerialConfig, "isolated": IsolatedConfig, "ray": RayConfig},
    "key": {"every": EveryKeyConfig, "adaptive": AdaptiveKeyConfig},
}
"""Groups whose options differ in shape: the ``name`` in the composed group picks the dataclass."""


@dataclass
class CommandConfig:
    """What every command has."""

    debug: bool = field()


@dataclass
class NetworkConfig(CommandConfig):
    """What every command has that runs the static network on a data set."""

    dataset: Any = field()
    phase: PhaseConfig = field()
    gpu: GpuConfig = field()
    static: StaticConfig = field()
    runs_dir: str = field()


@dataclass
class PretrainConfig(NetworkConfig):
    """Root of `pretrain`."""

    seed: int = field(metadata=SEED)
    resume: str | None = field()


@dataclass
class SearchConfig(PretrainConfig):
    """Root of `search`."""

    space: SpaceConfig = field()
    strategy: Any = field()
    executor: Any = field()
    stopping: Any = field()
    reward: RewardConfig = field()
    logger: LoggerConfig = field()
    name: str = field(metadata=FOLDER_NAME)


@dataclass
class TrainConfig(PretrainConfig):
    """Root of `train`."""

    cell: str = field()
    past: str = field(metadata=one_of("previous", "current", "zero"))
    flow: bool = field()
    logger: LoggerConfig = field()
    name: str = field(metadata=FOLDER_NAME)


@dataclass
class EvaluateConfig(NetworkConfig):
    """Root of `evaluate`."""

    checkpoint: Any = field(metadata=STRINGS)
    split: str = field(metadata=one_of("train", "val", "test"))
    size: list[int] | None = field(metadata=limits(32, length=2))
    baselines: bool = field()
    resume: str | None = field()
    panels: int = field(metadata=limits(0, 20))
    logger: LoggerConfig = field()
    name: str = field(metadata=FOLDER_NAME)


@dataclass
class ReportConfig(CommandConfig):
    """Root of `report`."""

    run: Any = field(metadata=STRINGS)
    runs_dir: str = field()
    name: str = field(metadata=FOLDER_NAME)


@dataclass
class CheckConfig(CommandConfig):
    """Root of `check`."""

    dataset: Any = field()
    threads: int | None = field(metadata=limits(1, 256))
    runs_dir: str = field()
    name: str = field(metadata=FOLDER_NAME)


@dataclass
class CompareConfig(CommandConfig):
    """Root of `compare`."""

    run: str = field()
    name: str = field(metadata=FOLDER_NAME)
    seed: int = field(metadata=SEED)
    random_cells: int = field(metadata=limits(1))
    repeats: int = field(metadata=limits(1))


@dataclass
class BenchmarkConfig(CommandConfig):
    """Root of `benchmark`."""

    checkpoint: Any = field(metadata=OPTIONAL_STRINGS)
    cell: str | None = field()
    flow: bool = field()
    classes: int | None = field(metadata=limits(2, 254))
    size: list[int] = field(metadata=limits(32, length=2))
    optimize: bool = field()
    repeats: int = field(metadata=limits(1))
    warmup: int = field(metadata=limits(1))
    gpu: GpuConfig = field()
    runs_dir: str = field()
    name: str = field(metadata=FOLDER_NAME)


@dataclass
class PredictConfig(CommandConfig):
    """Root of `predict`."""

    source: str = field()
    checkpoint: str | None = field()
    runtime: str = field(metadata=one_of("torch", "onnx"))
    key: Any = field()
    size: list[int] | None = field(metadata=limits(32, length=2))
    rate: float = field(metadata=limits(1e-4, 1000))
    frames: int | None = field(metadata=limits(1))
    overlay: bool = field()
    opacity: float = field(metadata=limits(0, 1))
    labels: bool = field()
    gpu: GpuConfig = field()
    runs_dir: str = field()
    name: str = field(metadata=FOLDER_NAME)


@dataclass
class ExportConfig(CommandConfig):
    """Root of `export`."""

    checkpoint: str | None = field()
    format: str = field(metadata=one_of("onnx", "pt2"))
    output: str = field(metadata=one_of("logits", "labels"))
    size: list[int] | None = field(metadata=limits(64, length=2))
    runs_dir: str = field()
    name: str = field(metadata=FOLDER_NAME)


def text_keys(schema: type[CommandConfig]) -> dict[str, bool]:
    """Keys whose values are text: paths, names, and whatever else is a string without a closed set of values.

    On a command line they mean what is written there, whatever Hydra's grammar would make of it.

    Args:
        schema: of a root.

    Returns:
        By dotted key, whether it also takes a list.
    """
    return dict(_text_keys(schema, ""))


def _text_keys(schema: type, prefix: str) -> Iterator[tuple[str, bool]]:
    for f in fields(schema):
        key = prefix + f.name
        if f.metadata.get("strings"):
            yield key, True
        elif f.type in (str, str | None) and "choices" not in f.metadata:
            yield key, False
        elif isinstance(f.type, type) and is_dataclass(f.type):
            yield from _text_keys(f.type, f"{key}.")
        elif f.type is Any:
            for option in OPTIONS[f.name].values():
                yield from _text_keys(option, f"{key}.")
