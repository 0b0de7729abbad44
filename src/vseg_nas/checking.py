"""Checks a composed configuration against the schema and the disk."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, is_dataclass
from pathlib import Path
from reprlib import repr as brief
from types import NoneType, UnionType
from typing import Any, TypeVar, get_args, get_origin

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vseg_nas.errors import ConfigError, DataError, RunError
from vseg_nas.nas.executors.ray_extra import check_address
from vseg_nas.runs.folder import check_folder
from vseg_nas.runs.record import CONFIG, recorded_config
from vseg_nas.runs.resume import folder_of, moved_runs_dir
from vseg_nas.schema import (
    OPTIONS,
    CommandConfig,
    DatasetConfig,
    NetworkConfig,
    RayConfig,
    SearchConfig,
    SyntheticConfig,
    TrainConfig,
)
from vseg_nas.space.genotype import check_size
from vseg_nas.space.strict_json import is_text

C = TypeVar("C", bound=CommandConfig)

_LONGEST_PATH, _LONGEST_NAME = 4096, 255  # characters; bytes of a name in a folder
_BY_RESOLVER = "ConfigError raised while resolving interpolation: "  # what OmegaConf says before our reason
_LONGEST_FOLDER = 128  # bytes; W&B takes no longer name of a run

_IN_WORDS: dict[Any, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a path or a name",
    NoneType: "null",
}
"""What a value of a type of the schema is."""


def check(config: DictConfig, schema: type[C]) -> C:
    """The typed configuration.

    Raises:
        ConfigError: a key is unknown or missing, or a value has the wrong type or is out of range.
    """
    _check_references(config)
    if missing := sorted(map(str, OmegaConf.missing_keys(config))):
        raise ConfigError(f"{missing[0]}: not set, expected a value: {missing[0]}=...")
    typed = _typed(config, schema, "")
    for group, options in OPTIONS.items():
        if hasattr(typed, group):
            chosen = config[group]
            if not isinstance(chosen, DictConfig):
                raise ConfigError(f"{group}: found {brief(chosen)}, expected one of: {', '.join(options)}")
            name = chosen.get("name")
            if not isinstance(name, str) or name not in options:
                raise ConfigError(f"{group}.name: found {_found(name)}, expected one of: {', '.join(options)}")
            alone = DictConfig(OmegaConf.to_container(chosen, resolve=True))  # it may refer to other groups
            setattr(typed, group, _typed(alone, options[name], f"{group}."))
    _check_ranges(typed, "")
    _check_relations(typed)
    return typed


def _check_references(config: DictConfig) -> None:
    """Follows every ``${key}``.

    Raises:
        ConfigError: one leads nowhere, or to itself.
    """
    try:
        OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        if str(error).startswith(_BY_RESOLVER):
            raise _explained(error, "") from error
        key = str(error.full_key or "configuration")
        found = str(OmegaConf.to_container(config, resolve=False) if error.full_key is None else _written(config, key))
        raise ConfigError(f"{key}: found {found[:80]}, expected a value: that reference leads nowhere") from error


def _written(config: DictConfig, key: str) -> object:
    """The value of a key as it stands there, references not followed."""
    node: object = OmegaConf.to_container(config, resolve=False)
    for name in key.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    return node


def _typed(config: DictConfig, schema: type[C], prefix: str) -> C:
    try:
        result: C = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), config))  # type: ignore[assignment]
    except OmegaConfBaseException as error:
        raise _mismatch(error, config, schema, prefix) from error
    return result


def _mismatch(error: OmegaConfBaseException, config: DictConfig, schema: type, prefix: str) -> ConfigError:
    """What was found and expected of a key that the schema knows and whose value does not fit."""
    key = str(error.full_key or "")
    expected = _expected(schema, re.findall(r"\w+", key))
    if expected is None:
        return _explained(error, prefix)
    value = OmegaConf.select(config, key)
    return ConfigError(f"{prefix}{key}: found {_found(value)}, expected {expected}")


def _found(value: object) -> str:
    """A value as it is written in YAML or Python, shortened."""
    return "null" if value is None else brief(OmegaConf.to_container(value) if OmegaConf.is_config(value) else value)


def _expected(kind: Any, names: Sequence[str]) -> str | None:
    """What the schema takes for a key, in words; None where it knows no such key."""
    metadata: Mapping[str, Any] = {}
    for name in names:
        field = next((f for f in fields(kind) if f.name == name), None) if is_dataclass(kind) else None
        lists = [option for option in _options(kind) if get_origin(option) is list]
        if field is not None:
            kind, metadata = field.type, field.metadata
        elif lists and name.isdigit():
            kind, metadata = get_args(lists[0])[0], {}
        else:
            return None
    if "choices" in metadata:
        return f"one of: {', '.join(metadata['choices'])}"
    return " or ".join(
        f"a list of {metadata['length']} numbers"
        if get_origin(option) is list
        else _IN_WORDS.get(option, "a group of keys")
        for option in _options(kind)
    )


def _options(kind: Any) -> Sequence[Any]:
    """Of a union its types, else the type itself."""
    return get_args(kind) if get_origin(kind) is UnionType else [kind]


def _explained(error: OmegaConfBaseException, prefix: str) -> ConfigError:
    """The key, and in one line what is wrong with it."""
    what = str(error).splitlines()[0].removeprefix(_BY_RESOLVER)
    return ConfigError(f"{prefix}{getattr(error, 'full_key', '') or ''}: {what[:300]}")


def _check_ranges(node: Any, prefix: str) -> None:
    for f in fields(node):
        key, value, rule = prefix + f.name, getattr(node, f.name), f.metadata
        if is_dataclass(value):
            _check_ranges(value, key + ".")
        for text in value if isinstance(value, list) else [value]:
            if isinstance(text, str):
                check_text(key, text)
        if value is None and rule.get("strings") and not rule.get("optional"):
            raise ConfigError(f"{key}: found null, expected a path or a list of paths")
        if value is None or not rule:
            continue
        if rule.get("folder_name"):
            _check_folder_name(key, value)
            continue
        if rule.get("strings"):
            _check_strings(node, f.name, key)
            continue
        if "choices" in rule:
            if value not in rule["choices"]:
                raise ConfigError(f"{key}: found {value!r}, expected one of: {', '.join(rule['choices'])}")
            continue
        if rule.get("length") and len(value) != rule["length"]:
            raise ConfigError(f"{key}: found {value}, expected {rule['length']} numbers")
        for element in value if isinstance(value, list) else [value]:
            check_number(key, element, rule.get("min"), rule.get("max"), rule.get("above"))


def _check_strings(node: Any, name: str, key: str) -> None:
    value = getattr(node, name)
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not values or not all(isinstance(element, str) for element in values):
        raise ConfigError(f"{key}: found {value!r}, expected a path or a list of paths")
    setattr(node, name, values)


def check_text(key: str, text: str) -> None:
    """Whether a text could be a path: most are, and the others are shorter.

    A shell variable that is not set leaves nothing: that is a mistake, and never the same as null.
    """
    if not text.strip():
        raise ConfigError(f"{key}: found an empty value, expected one that is not; what may be left out is null")
    parts = [len(part.encode(errors="replace")) for part in text.split("/")]
    if not is_text(text) or len(text) > _LONGEST_PATH or max(parts) > _LONGEST_NAME:
        raise ConfigError(
            f"{key}: found {brief(text)}, expected characters without NUL, at most {_LONGEST_PATH}, "
            f"and at most {_LONGEST_NAME} from one slash to the next"
        )


def _check_folder_name(key: str, name: str) -> None:
    allowed = name.isprintable() and name == name.strip() and "/" not in name and name not in ("", ".", "..")
    if not allowed or len(name.encode()) > _LONGEST_FOLDER:
        raise ConfigError(
            f"{key}: found {brief(name)}, expected the name of a folder: 1 to {_LONGEST_FOLDER} printable characters, "
            "no slash, not '.' or '..'"
        )


def _check_relations(config: CommandConfig) -> None:
    """What one field alone cannot show."""
    if isinstance(config, SearchConfig):
        try:
            check_size(config.space.layers, config.space.width)
        except ValueError as error:
            raise ConfigError(f"space: {error}") from error
        if isinstance(config.executor, RayConfig):
            check_address(config.executor.address)
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


def check_number(
    key: str, value: Any, low: float | None = None, high: float | None = None, above: float | None = None
) -> None:
    """Raises a ConfigError unless a number is finite and within the `limits` of the schema."""
    if not math.isfinite(value):
        raise ConfigError(f"{key}: found {value}, expected a finite number")
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


def stored_config(run_dir: Path, schema: type[C], verb: str) -> C:
    """Returns the checked configuration of a run, with the folder of runs that it lies in now; see `moved_runs_dir`.

    Args:
        run_dir: The run directory.
        schema: The configuration class of the command that made the run.
        verb: The name of that command.

    Raises:
        RunError: The directory holds no run, a run of another command, or more than files and folders.
    """
    if not (run_dir / CONFIG).is_file():
        raise RunError(f"{run_dir}: holds no run, expected {CONFIG} in it{folder_of(run_dir)}")
    check_folder(run_dir)
    recorded = OmegaConf.create(recorded_config(run_dir))
    moved, before = moved_runs_dir(run_dir, verb), f"{OmegaConf.select(recorded, 'runs_dir')}/"
    weights = str(OmegaConf.select(recorded, "static.weights"))
    if moved is not None:
        OmegaConf.update(recorded, "runs_dir", moved)
        if weights.startswith(before):
            OmegaConf.update(recorded, "static.weights", f"{moved}/{weights.removeprefix(before)}")
    try:
        return check(recorded, schema)
    except ConfigError as error:
        raise RunError(f"{run_dir / CONFIG}: {error}") from error


def require_checkpoint(path: str | Path, hint: str = "") -> None:
    """Checks that a checkpoint exists.

    Args:
        path: The file that ``checkpoint=`` names.
        hint: What to add to the error message.

    Raises:
        DataError: There is no such file.
    """
    if not Path(path).is_file():
        raise DataError(f"checkpoint: found no file {path}, expected one that `train` wrote{hint}")
