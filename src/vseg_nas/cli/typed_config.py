"""The typed configuration of a command: of one that was composed, or of a run that has stored it."""

from pathlib import Path
from typing import TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vseg_nas.errors import ConfigError, RunError
from vseg_nas.runs.folder import check_folder
from vseg_nas.runs.record import CONFIG, recorded_config
from vseg_nas.runs.resume import folder_hint, moved_runs_dir
from vseg_nas.schema import CommandConfig
from vseg_nas.settings import check_complete, validated

C = TypeVar("C", bound=CommandConfig)

_BY_RESOLVER = "ConfigError raised while resolving interpolation: "  # what OmegaConf says before our reason


def typed_config(config: DictConfig, schema: type[C]) -> C:
    """Checks a configuration against its schema, and returns it as an instance of that.

    Raises:
        ConfigError: A key is unknown or missing, or a value has the wrong type or is out of range.
    """
    _check_references(config)
    if missing := sorted(map(str, OmegaConf.missing_keys(config))):
        raise ConfigError(f"{missing[0]}: not set, expected a value: {missing[0]}=...")
    typed = validated(schema, OmegaConf.to_container(config, resolve=True))
    check_complete(typed)
    return typed


def _check_references(config: DictConfig) -> None:
    """Follows every ``${key}``.

    Raises:
        ConfigError: One leads nowhere, or to itself.
    """
    try:
        OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        key = str(error.full_key or "configuration")
        said = str(error).splitlines()[0]
        if said.startswith(_BY_RESOLVER):
            raise ConfigError(f"{error.full_key or ''}: {said.removeprefix(_BY_RESOLVER)[:300]}") from error
        found = str(OmegaConf.to_container(config, resolve=False) if error.full_key is None else _written(config, key))
        raise ConfigError(f"{key}: found {found[:80]}, expected a value: that reference leads nowhere") from error


def _written(config: DictConfig, key: str) -> object:
    """Returns the value of a key as it stands there, without following references."""
    node: object = OmegaConf.to_container(config, resolve=False)
    for name in key.split("."):
        node = node.get(name) if isinstance(node, dict) else None
    return node


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
        raise RunError(f"{run_dir}: holds no run, expected {CONFIG} in it{folder_hint(run_dir)}")
    check_folder(run_dir)
    recorded = OmegaConf.create(recorded_config(run_dir))
    moved, before = moved_runs_dir(run_dir, verb), f"{OmegaConf.select(recorded, 'runs_dir')}/"
    weights = str(OmegaConf.select(recorded, "static.weights"))
    if moved is not None:
        OmegaConf.update(recorded, "runs_dir", moved)
        if weights.startswith(before):
            OmegaConf.update(recorded, "static.weights", f"{moved}/{weights.removeprefix(before)}")
    try:
        return typed_config(recorded, schema)
    except ConfigError as error:
        raise RunError(f"{run_dir / CONFIG}: {error}") from error
