"""The typed configuration: one dataclass per option of a Hydra group, with ranges. Pure data.

`config.py` checks a composed configuration against these. A field's ``metadata`` may hold ``min``, ``max``, ``above``
(exclusive minimum), ``choices`` and ``length`` (of a list; the range then holds for each element).
"""

from dataclasses import dataclass, field
from typing import Any


def limits(
    low: float | None = None, high: float | None = None, above: float | None = None, length: int | None = None
) -> dict[str, Any]:
    """Metadata of a number, or of a list of numbers, with a range."""
    return {"min": low, "max": high, "above": above, "length": length}


def one_of(*choices: str) -> dict[str, Any]:
    """Metadata of a string with a closed set of values."""
    return {"choices": choices}


@dataclass
class SyntheticConfig:
    """Rendered street scenes; needs no files."""

    name: str = field(metadata=one_of("synthetic"))
    length: int = field(metadata=limits(2, 3))
    frames_per_run: int = field(metadata=limits(2))
    clips: int = field(metadata=limits(2))
    val_clips: int = field(metadata=limits(1))
    size: list[int] = field(metadata=limits(32, length=2))
    seed: int = field(metadata=limits(0))


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
class SearchPhase:
    """The budget, the meta split and the training of candidates on cached features (paper, section 4.1)."""

    trials: int = field(metadata=limits(1))
    hours: float | None = field(metadata=limits(above=0))
    layers: int = field(metadata=limits(1, 10))
    epochs: int = field(metadata=limits(1))
    batch_size: int = field(metadata=limits(1))
    lr: float = field(metadata=limits(above=0))
    weight_decay: float = field(metadata=limits(0))
    gradient_clip: float = field(metadata=limits(above=0))
    split: str = field(metadata=one_of("random", "by_run"))
    split_seed: int = field(metadata=limits(0))
    val_fraction: float = field(metadata=limits(above=0, high=0.5))
    val_size: list[int] | None = field(metadata=limits(32, length=2))
    transform: TransformConfig = field()


@dataclass
class PhaseConfig:
    """The numbers of every phase for one data set."""

    name: str = field()
    pretrain: PretrainPhase = field()
    search: SearchPhase = field()


@dataclass
class GpuConfig:
    """Where and how precisely to compute."""

    name: str = field()
    accelerator: str = field(metadata=one_of("auto", "cpu", "cuda"))
    precision: str = field(metadata=one_of("32-true", "bf16-mixed", "16-mixed"))
    workers: int = field(metadata=limits(0))
    threads: int | None = field(metadata=limits(1))
    cache_precision: str = field(metadata=one_of("fp32", "fp16"))


@dataclass
class StaticConfig:
    """The static network and its weights."""

    name: str = field()
    encoder_weights: str | None = field()
    weights: str = field()


@dataclass
class SpaceConfig:
    """The search space (paper, section 3.2)."""

    name: str = field()
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
class StoppingConfig:
    """When to give a candidate up half-way."""

    name: str = field(metadata=one_of("halfway", "median", "none"))


@dataclass
class RewardConfig:
    """What the strategy is told."""

    name: str = field(metadata=one_of("geometric_mean"))
    failed: float | None = field()


@dataclass
class LoggerConfig:
    """Weights & Biases."""

    name: str = field(metadata=one_of("auto", "online", "offline", "none"))
    project: str = field()
    group: str | None = field()


DatasetConfig = SyntheticConfig | CamVidConfig | CityScapesConfig
StrategyConfig = PPOConfig | ReinforceConfig | RandomConfig

OPTIONS: dict[str, dict[str, type]] = {
    "dataset": {"synthetic": SyntheticConfig, "camvid": CamVidConfig, "cityscapes": CityScapesConfig},
    "strategy": {"ppo": PPOConfig, "reinforce": ReinforceConfig, "random": RandomConfig},
}
"""Groups whose options differ in shape: the ``name`` in the composed group picks the dataclass."""


@dataclass
class CommandConfig:
    """What every command has."""

    debug: bool = field()


@dataclass
class PretrainConfig(CommandConfig):
    """Root of `pretrain`."""

    dataset: Any = field()
    phase: PhaseConfig = field()
    gpu: GpuConfig = field()
    static: StaticConfig = field()
    seed: int = field(metadata=limits(0))
    runs_dir: str = field()
    resume: str | None = field()


@dataclass
class SearchConfig(PretrainConfig):
    """Root of `search`."""

    space: SpaceConfig = field()
    strategy: Any = field()
    stopping: StoppingConfig = field()
    reward: RewardConfig = field()
    logger: LoggerConfig = field()
    name: str = field()


@dataclass
class CompareConfig(CommandConfig):
    """Root of `compare`."""

    run: str = field()
    name: str = field()
    seed: int = field(metadata=limits(0))
    random_cells: int = field(metadata=limits(1))
    repeats: int = field(metadata=limits(1))
