"""Composes configurations from ``conf/`` by Hydra, and says in one line what is wrong with the overrides."""

import difflib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NoReturn

import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.global_hydra import GlobalHydra
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vseg_nas.errors import ConfigError
from vseg_nas.runs.record import flat, key_of

_LAUNCHERS = ("hydra._internal.core_plugins.", "hydra_plugins.")
_ABSENT = object()


def conf_dir() -> Path:
    """Returns the Hydra tree: beside ``src`` in a checkout, inside the package in a wheel."""
    inside = Path(__file__).parents[1] / "conf"
    return inside if inside.is_dir() else Path(__file__).parents[3] / "conf"


def register_resolvers() -> None:
    """Teaches OmegaConf, in the whole process, what our configurations may refer to.

    ``vseg.either`` is the first of two values, or the second if the first is null. ``oc.env`` is refused, so that
    nothing reads the environment, however a reference to it is spelled or nested. Only commands may call this: their
    process is their own.
    """
    OmegaConf.register_new_resolver("vseg.either", lambda first, second: first or second, replace=True)
    OmegaConf.register_new_resolver("oc.env", _refuse_environment, replace=True)


def _refuse_environment(*arguments: object) -> NoReturn:
    raise ConfigError("found oc.env, expected the value: the environment is not read")


def split_jobs(verb: str, overrides: list[str], multirun: bool) -> list[list[str]]:
    """Returns the overrides of each job that a command line asks for.

    Raises:
        ConfigError: The overrides cannot be parsed.
    """
    if not multirun:
        return [overrides]
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
        return [job for batch in BasicSweeper.split_arguments(parsed, None) for job in batch]
    except HydraException as error:
        raise _explain(verb, error, overrides) from error


def compose_config(verb: str, overrides: Sequence[str], with_hydra: bool = False) -> DictConfig:
    """Returns the configuration of one job. Hydra has to be initialised with `conf_dir`.

    Args:
        verb: The name of the root file in ``conf/``.
        overrides: The overrides of the job.
        with_hydra: Whether it has Hydra's own configuration, too, under ``hydra``.

    Raises:
        ConfigError: An override cannot be parsed, or names no key or option.
    """
    try:
        return compose(verb, overrides=list(overrides), return_hydra_config=with_hydra)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise _explain(verb, error, overrides) from error


def check_displayed(verb: str, overrides: list[str], package: str | None) -> None:
    """Composes what ``--cfg`` shows.

    Raises:
        ConfigError: Hydra cannot show it, or the configuration has no such package.
    """
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        composed = compose_config(verb, overrides, with_hydra=True)
    GlobalHydra.instance().clear()
    if package is not None and package not in _packages(OmegaConf.to_container(composed, resolve=False)):
        raise ConfigError(f"--package: found no {package[:80]!r}, expected a key that holds others")


def _packages(node: object, prefix: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from _packages(value, f"{prefix}{key}.")


def check_hydra_targets(verb: str, composed: DictConfig, overrides: Sequence[str]) -> None:
    """Checks Hydra's own configuration, since Hydra imports and calls what that names.

    Raises:
        ConfigError: It names more than a launcher and a sweeper that are installed as such.
    """
    try:
        if composed.hydra.get("callbacks"):
            raise ConfigError("hydra.callbacks: found some, expected none")
        targets = {name: str(composed.hydra[name].get("_target_")) for name in ("launcher", "sweeper")}
    except OmegaConfBaseException as error:
        raise _explain(verb, error, overrides) from error
    for name, target in targets.items():
        if not target.startswith(_LAUNCHERS):
            raise ConfigError(f"hydra.{name}: found {target[:80]!r}, expected an installed plugin of Hydra")


def output_folder(composed: DictConfig, key: str) -> Path:
    """Returns the folder in which runs will lie, as a key of Hydra's says.

    Raises:
        ConfigError: The key says nothing, or nonsense.
    """
    try:
        folder = OmegaConf.select(composed, key)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{key}: {' '.join(str(error).split())[:100]}") from error
    if not isinstance(folder, str) or not folder:
        raise ConfigError(f"{key}: found {str(folder)[:80]!r}, expected a folder")
    return Path(folder)


def _explain(verb: str, error: Exception, overrides: Sequence[str]) -> ConfigError:
    """Returns Hydra's message in one line, with the alternatives."""
    text = str(error)
    if isinstance(error, yaml.YAMLError):
        return ConfigError(f"conf: not readable as YAML: {' '.join(text.split())[:150]}")
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return ConfigError(f"{group}={option}: no such option, expected one of: {', '.join(error.options or [])}")
    if isinstance(error, OverrideParseException):
        key, sign, _ = str(error.override).partition("=")
        if sign and OmegaConf.select(compose_config(verb, []), key.lstrip("+~"), default=_ABSENT) is _ABSENT:
            return _unknown_key(verb, key.lstrip("+~"), [])
        return ConfigError(f"{error.override!r}: not understood, expected key=value")
    if "Ambiguous value" in text:
        return ConfigError(f"{text.splitlines()[0]}: several values need --multirun, a list needs [brackets]")
    if match := re.search(r"Could not override '([^']+)'", text):
        return _unknown_key(verb, match[1], overrides)
    return ConfigError(" ".join(text.split())[:180])


def _unknown_key(verb: str, key: str, overrides: Sequence[str]) -> ConfigError:
    """Returns an error that suggests keys: near ones, of the options that the command line picks, and groups.

    A group is suggested that has the option which was asked for, as ``pruner`` for ``stop=median``.
    """
    groups = {path.name for path in conf_dir().iterdir() if path.is_dir()} - {"hydra"}
    picked = [o for o in overrides if o.partition("=")[0] in groups - {key}]
    config = compose_config(verb, picked)
    groups &= {str(name) for name in config}
    known = set(flat(OmegaConf.to_container(config, resolve=False))) | groups
    by_tail = [k for k in known if k.rpartition(".")[2] == key.rpartition(".")[2]]
    asked = {o.partition("=")[2] for o in overrides if key_of(o) == key and "." not in key}
    by_option = [group for group in groups if asked & {path.stem for path in (conf_dir() / group).glob("*.yaml")}]
    near = [*difflib.get_close_matches(key, sorted(known), n=3), *sorted(by_tail), *sorted(by_option)]
    near = list(dict.fromkeys(near))[:3]
    hint = f"did you mean {', '.join(near)}?" if near else "see --help for the keys"
    return ConfigError(f"{key}: no such key; {hint}")
