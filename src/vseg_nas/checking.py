"""Checks a composed configuration against the schema and the disk."""

from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vseg_nas.errors import ConfigError, DataError
from vseg_nas.files import sha256_of, write_text
from vseg_nas.schema import (
    OPTIONS,
    CommandConfig,
    DatasetConfig,
    NetworkConfig,
    SearchConfig,
    SyntheticConfig,
    TrainConfig,
)
from vseg_nas.space.genotype import check_size

C = TypeVar("C", bound=CommandConfig)

GENOTYPE_NOTE = "genotype.json"
"""File of a run directory: the cell that it trains."""
WEIGHTS_NOTE = "static.sha256"
"""File of a run directory: SHA-256 of the static network that its trials were measured with."""


def check(config: DictConfig, schema: type[C]) -> C:
    """The typed configuration.

    Raises:
        ConfigError: a key is unknown or missing, or a value has the wrong type or is out of range.
    """
    if missing := sorted(OmegaConf.missing_keys(config)):
        raise ConfigError(f"{missing[0]}: not set, expected a value: {missing[0]}=...")
    typed = _typed(config, schema, "")
    for group, options in OPTIONS.items():
        if hasattr(typed, group):
            name = str(config[group].get("name"))
            if name not in options:
                raise ConfigError(f"{group}.name: found {name!r}, expected one of: {', '.join(options)}")
            setattr(typed, group, _typed(config[group], options[name], f"{group}."))
    _check_ranges(typed, "")
    _check_relations(typed)
    return typed


def _typed(config: DictConfig, schema: type[C], prefix: str) -> C:
    try:
        result: C = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), config))  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        key = prefix + str(getattr(error, "full_key", "") or "")
        raise ConfigError(f"{key}: {str(error).splitlines()[0]}") from error
    return result


def _check_ranges(node: Any, prefix: str) -> None:
    for f in fields(node):
        key, value, rule = prefix + f.name, getattr(node, f.name), f.metadata
        if is_dataclass(value):
            _check_ranges(value, key + ".")
        _check_not_empty(key, value)
        if value is None or not rule:
            continue
        if rule.get("strings"):
            _check_strings(node, f.name, key)
            continue
        if "choices" in rule and value not in rule["choices"]:
            raise ConfigError(f"{key}: found {value!r}, expected one of: {', '.join(rule['choices'])}")
        if rule.get("length") and len(value) != rule["length"]:
            raise ConfigError(f"{key}: found {value}, expected {rule['length']} numbers")
        for element in value if isinstance(value, list) else [value]:
            _check_number(key, element, rule.get("min"), rule.get("max"), rule.get("above"))


def _check_not_empty(key: str, value: Any) -> None:
    """A shell variable that is not set leaves nothing: that is a mistake, and never the same as null."""
    for element in value if isinstance(value, list) else [value]:
        if isinstance(element, str) and not element.strip():
            raise ConfigError(f"{key}: found an empty value, expected one that is not; what may be left out is null")


def _check_strings(node: Any, name: str, key: str) -> None:
    value = getattr(node, name)
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values or not all(isinstance(element, str) for element in values):
        raise ConfigError(f"{key}: found {value!r}, expected a path or a list of paths")
    setattr(node, name, values)


def _check_relations(config: CommandConfig) -> None:
    """What one field alone cannot show."""
    if isinstance(config, SearchConfig):
        try:
            check_size(config.space.layers, config.space.width)
        except ValueError as error:
            raise ConfigError(f"space: {error}") from error
    if isinstance(config, TrainConfig) and config.flow and config.past != "previous":
        raise ConfigError(f"flow: found true with past={config.past}, expected past=previous: only that can be warped")
    if isinstance(config, NetworkConfig):
        phase = config.phase
        stages: dict[str, Any] = {"pretrain": phase.pretrain, "search": phase.search} | {
            "train.cell": phase.train.cell,
            "train.video": phase.train.video,
        }
        for name, stage in stages.items():
            low, high = stage.transform.scale
            if low > high:
                raise ConfigError(f"phase.{name}.transform.scale: found [{low}, {high}], expected low <= high")
        dataset = config.dataset
        if isinstance(dataset, SyntheticConfig) and dataset.frames_per_run < dataset.length:
            raise ConfigError(
                f"dataset.frames_per_run: found {dataset.frames_per_run}, expected at least dataset.length"
            )


def _check_number(key: str, value: Any, low: float | None, high: float | None, above: float | None) -> None:
    if low is not None and not value >= low:
        raise ConfigError(f"{key}: found {value}, expected at least {low}")
    if above is not None and not value > above:
        raise ConfigError(f"{key}: found {value}, expected more than {above}")
    if high is not None and not value <= high:
        raise ConfigError(f"{key}: found {value}, expected at most {high}")


_LAYOUT = {
    "camvid": "train/, trainannot/ and train.txt",
    "cityscapes": "leftImg8bit/, leftImg8bit_sequence/ and gtFine/",
}


def check_root(dataset: DatasetConfig) -> None:
    """Looks whether the folder of a data set is there.

    Raises:
        DataError: it is not set or does not exist.
    """
    if isinstance(dataset, SyntheticConfig):
        return
    holds = _LAYOUT[dataset.name]
    if dataset.root is None:
        raise DataError(f"dataset.root: not set, expected the folder that holds {holds}")
    if not Path(dataset.root).is_dir():
        raise DataError(f"dataset.root: found no folder {dataset.root}, expected one that holds {holds}")


def to_plain(config: CommandConfig) -> dict[str, Any]:
    """The configuration as plain dictionaries, lists and numbers."""
    return asdict(config)


def keep_weights_digest(run_dir: Path, weights: Path) -> None:
    """Notes the SHA-256 of the static network in a run, or checks it against the note of an earlier start.

    Raises:
        DataError: trials of this run were measured with other weights.
    """
    digest = sha256_of(weights)
    note = run_dir / WEIGHTS_NOTE
    if not note.is_file():
        write_text(note, digest)
    elif note.read_text() != digest:
        raise DataError(f"{weights}: changed since {run_dir} began; put the old file back or start a new run")
