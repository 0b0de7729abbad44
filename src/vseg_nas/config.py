"""From a command line to a checked, typed configuration; the only file besides the commands that knows Hydra.

Everything is composed and checked before Hydra creates a directory, so a mistake costs one line and no file.
"""

import difflib
import json
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, NoReturn

import hydra
import yaml
from hydra import compose, initialize_config_dir
from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra._internal.utils import get_args_parser
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException, MissingConfigException, OverrideParseException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from vseg_nas.checking import GENOTYPE_NOTE, WEIGHTS_NOTE, C, check
from vseg_nas.errors import ConfigError, RunError, UserError
from vseg_nas.files import write_text
from vseg_nas.nas.lock import RunLock
from vseg_nas.schema import CommandConfig
from vseg_nas.signals import INTERRUPTED, TERMINATED, Terminated, stopping

_HARMLESS_ON_RESUME = (
    "resume",
    "debug",
    "runs_dir",
    "name",
    "gpu.name",
    "gpu.accelerator",
    "gpu.devices",
    "gpu.workers",
    "logger",
    "phase.search.trials",
    "phase.search.hours",
    "cell",
)
_MAX_YAML = 2**20
_BOOKKEEPING = {"config.yaml", "overrides.json", "lock", "log", GENOTYPE_NOTE, WEIGHTS_NOTE}
_SHARED_KEYS = ("dataset", "experiment", "runs_dir", "static", "gpu", "phase.pretrain", "phase.train")
_STORABLE = re.compile(r"(?!-|[+~]*hydra\b)[^$]*", re.DOTALL)
"""Overrides that a run directory, which may be anybody's, may bring along: none of Hydra's own, no interpolation."""
_ON_MANY_DEVICES = ("pretrain", "train")
_LAUNCHERS = ("hydra._internal.core_plugins.", "hydra_plugins.")
_SHOWS_ONLY = ("help", "hydra_help", "info", "cfg", "shell_completion")


def conf_dir() -> Path:
    """The Hydra tree: beside ``src`` in a checkout, inside the package in a wheel."""
    inside = Path(__file__).parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "conf"


def command(
    verb: str, schema: type[C], preflight: Callable[[C], None] = lambda config: None
) -> Callable[[Callable[[C, Path], None]], Callable[[], None]]:
    """Makes a console entry point of ``run(config, run_dir)``.

    One process at a time runs in a run directory. The user's mistakes end in one line on stderr and status 2, Ctrl-C in
    status 130, SIGTERM and SIGUSR1 in 143.

    Args:
        verb: the root file in ``conf/``.
        schema: the dataclass of the root.
        preflight: raises `UserError` for what a look at the disk shows to be missing; it runs before any directory
            is made, so it should cost nothing.
    """

    def decorate(run: Callable[[C, Path], None]) -> Callable[[], None]:
        def job(config: DictConfig) -> None:
            typed = check(config, schema)
            run_dir = Path(HydraConfig.get().runtime.output_dir)
            with stopping(), _one_line_errors(typed.debug), RunLock(run_dir):
                if getattr(typed, "resume", None) is None:
                    _refuse_a_run(run_dir, schema)
                    _record(run_dir, config, HydraConfig.get().overrides.task)
                try:
                    run(typed, run_dir)
                except UserError:
                    if getattr(typed, "resume", None) is None:
                        _forget_empty(run_dir)
                    raise

        def main() -> None:
            args = get_args_parser().parse_args(sys.argv[1:])
            if not any(getattr(args, flag) for flag in _SHOWS_ONLY):
                with _one_line_errors("debug=true" in args.overrides):
                    sys.argv[1:] += _stored_overrides(args.overrides)
                    args = get_args_parser().parse_args(sys.argv[1:])
                    _check_command_line(verb, schema, preflight, args.overrides, args.multirun)
                os.environ["HYDRA_FULL_ERROR"] = "1"  # what fails from here on is our bug
            hydra.main(config_path=str(conf_dir()), config_name=verb, version_base="1.3")(job)()

        return main

    return decorate


class _one_line_errors:
    """Turns the user's mistakes into one line and an exit status."""

    def __init__(self, debug: bool) -> None:
        self.debug = debug

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, UserError) and not self.debug:
            _exit(" ".join(str(error).split()), 2)
        if isinstance(error, KeyboardInterrupt):
            _exit("interrupted", INTERRUPTED)
        if isinstance(error, Terminated):
            _exit(f"terminated by {error}", TERMINATED)


def _exit(message: str, status: int) -> NoReturn:
    sys.stderr.write(f"error: {message}\n")
    raise SystemExit(status)


def _check_command_line(
    verb: str, schema: type[C], preflight: Callable[[C], None], overrides: list[str], multirun: bool
) -> None:
    """Composes and checks every job that the command line asks for.

    Raises:
        ConfigError: in one line, what is wrong.
    """
    if reading := [override for override in overrides if "${oc.env" in override]:
        raise ConfigError(f"{reading[0][:80]}: found oc.env, expected the value: the environment is not read")
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for job in _jobs(verb, overrides, multirun):
            composed = _compose(verb, job, with_hydra=True)
            _nothing_foreign_runs(composed.hydra)
            config = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
            typed = check(config, schema)
            _check_devices(verb, typed)
            preflight(typed)
            resume = getattr(typed, "resume", None)
            if resume is not None:
                _same_meaning(Path(resume), config)
                continue
            if not multirun:
                _refuse_a_run(Path(str(composed.hydra.run.dir)), schema)
    GlobalHydra.instance().clear()


def _check_devices(verb: str, config: CommandConfig) -> None:
    gpu = getattr(config, "gpu", None)
    if gpu is not None and gpu.devices != 1 and verb not in _ON_MANY_DEVICES:
        found = "null (all)" if gpu.devices is None else gpu.devices
        raise ConfigError(f"gpu.devices: found {found}, expected 1: {verb} computes on one device; use gpu=one")


def _refuse_a_run(run_dir: Path, schema: type[CommandConfig]) -> None:
    """A new run never writes into an old one.

    Raises:
        RunError: the directory holds a run.
    """
    if (run_dir / "config.yaml").exists():
        go_on = f"continue it with resume={run_dir}, or " if "resume" in schema.__dataclass_fields__ else ""
        raise RunError(f"{run_dir}: holds a run already; {go_on}choose another name")


def _nothing_foreign_runs(hydra_config: DictConfig) -> None:
    """Hydra imports and calls what its configuration names.

    Raises:
        ConfigError: that is more than a launcher and a sweeper that are installed as such.
    """
    if hydra_config.get("callbacks"):
        raise ConfigError("hydra.callbacks: found some, expected none")
    for name in ("launcher", "sweeper"):
        target = str(hydra_config[name].get("_target_"))
        if not target.startswith(_LAUNCHERS):
            raise ConfigError(f"hydra.{name}: found {target[:80]!r}, expected an installed plugin of Hydra")


def _jobs(verb: str, overrides: list[str], multirun: bool) -> Iterable[list[str]]:
    if not multirun:
        return [overrides]
    try:
        parsed = OverridesParser.create().parse_overrides(overrides)
        return [job for batch in BasicSweeper.split_arguments(parsed, None) for job in batch]
    except HydraException as error:
        raise _explain(verb, error, overrides) from error


def _compose(verb: str, overrides: Sequence[str], with_hydra: bool = False) -> DictConfig:
    try:
        return compose(verb, overrides=list(overrides), return_hydra_config=with_hydra)
    except (HydraException, OmegaConfBaseException, yaml.YAMLError) as error:
        raise _explain(verb, error, overrides) from error


def _explain(verb: str, error: Exception, overrides: Sequence[str]) -> ConfigError:
    """Hydra's message in one line, with the alternatives."""
    text = str(error)
    if isinstance(error, yaml.YAMLError):
        return ConfigError(f"conf: not readable as YAML: {' '.join(text.split())[:150]}")
    if isinstance(error, MissingConfigException) and error.missing_cfg_file:
        group, _, option = error.missing_cfg_file.rpartition("/")
        return ConfigError(f"{group}={option}: no such option, expected one of: {', '.join(error.options or [])}")
    if isinstance(error, OverrideParseException):
        return ConfigError(f"{error.override!r}: not understood, expected key=value")
    if "Ambiguous value" in text:
        return ConfigError(f"{text.splitlines()[0]}: several values need --multirun, a list needs [brackets]")
    if match := re.search(r"Could not override '([^']+)'", text):
        return _unknown_key(verb, match[1], overrides)
    return ConfigError(" ".join(text.split())[:180])


def _unknown_key(verb: str, key: str, overrides: Sequence[str]) -> ConfigError:
    """Suggests the nearest keys of the options that the command line picks."""
    groups = {path.name for path in conf_dir().iterdir() if path.is_dir()} - {"hydra"}
    picked = [o for o in overrides if o.partition("=")[0] in groups - {key}]
    config = _compose(verb, picked)
    known = set(_leaves(OmegaConf.to_container(config, resolve=False))) | (groups & {str(name) for name in config})
    by_tail = [k for k in known if k.rpartition(".")[2] == key.rpartition(".")[2]]
    near = list(dict.fromkeys(difflib.get_close_matches(key, sorted(known), n=3) + sorted(by_tail)))[:3]
    hint = f"did you mean {', '.join(near)}?" if near else "see --help for the keys"
    return ConfigError(f"{key}: no such key; {hint}")


def _leaves(node: object, prefix: str = "") -> Iterator[str]:
    if not isinstance(node, dict):
        yield prefix
        return
    for key, value in node.items():
        yield from _leaves(value, f"{prefix}.{key}" if prefix else str(key))


def python_command() -> str:
    """How to start this Python from the current folder: ``python`` if that is it."""
    if shutil.which("python") == sys.executable:
        return "python"
    here = Path(sys.executable)
    return str(here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here)


def shared_overrides() -> str:
    """The part of this command line that every command on a data set understands, to print another one's command."""
    keys = tuple(f"{key}{sign}" for key in _SHARED_KEYS for sign in "=.")
    shared = [argument for argument in sys.argv[1:] if argument.startswith(keys)]
    one_device = ["gpu=one" if argument == "gpu=many" else argument for argument in shared]
    return " ".join(argument for argument in one_device if not argument.startswith("gpu.devices="))


def stored_config(run_dir: Path, schema: type[C]) -> C:
    """The configuration of a run.

    Raises:
        RunError: the directory holds no run.
        ConfigError: the stored configuration is not one of this kind.
    """
    path = run_dir / "config.yaml"
    if not path.is_file():
        raise RunError(f"{run_dir}: holds no run, expected config.yaml in it")
    return check(OmegaConf.create(read_mapping(path)), schema)


def read_mapping(path: Path) -> dict[str, Any]:
    """A YAML file that anybody may have written: bounded, of plain data, without aliases, which can stand for billions.

    Raises:
        RunError: it is not that.
    """
    try:
        text = path.read_bytes().decode("utf-8")
        if len(text) > _MAX_YAML:
            raise RunError(f"{path}: found {len(text)} characters, expected at most {_MAX_YAML}")
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise RunError(f"{path}: found an alias, expected YAML without")
        data = yaml.safe_load(text)
    except (yaml.YAMLError, UnicodeDecodeError, RecursionError) as error:
        raise RunError(f"{path}: not readable as YAML ({' '.join(str(error).split())[:80]})") from error
    if not isinstance(data, dict):
        raise RunError(f"{path}: found {type(data).__name__}, expected a mapping")
    return data


def _forget_empty(run_dir: Path) -> None:
    """Removes a run that ended before it had anything to keep, so that the mended command can use its name."""
    found = {path.name for path in run_dir.iterdir()}
    if found <= _BOOKKEEPING:
        for name in found:
            (run_dir / name).unlink()
        run_dir.rmdir()


def _record(run_dir: Path, config: DictConfig, overrides: Iterable[str]) -> None:
    """Stores what `resume` needs: the resolved configuration and the command line that made it."""
    write_text(run_dir / "overrides.json", json.dumps(list(overrides)))
    write_text(run_dir / "config.yaml", OmegaConf.to_yaml(config, resolve=True))  # last: it marks a run


def _stored_overrides(overrides: Sequence[str]) -> list[str]:
    """The overrides of the run that ``resume=`` names, less those that the command line gives anew."""
    named = [o.partition("=")[2] for o in overrides if o.startswith("resume=")]
    if not named or named[-1] in ("", "null"):
        return []
    path = Path(named[-1]) / "overrides.json"
    if path.is_file():
        with RunLock(path.parent):  # held by another process, it is refused at once
            pass
    try:
        stored = json.loads(path.read_text())
    except FileNotFoundError:
        raise RunError(f"resume: no run in {named[-1]}, expected a directory with overrides.json") from None
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: not readable as JSON ({str(error)[:80]})") from error
    if not isinstance(stored, list) or not all(isinstance(o, str) for o in stored):
        raise RunError(f"{path}: expected a list of strings")
    if odd := [o for o in stored if not _STORABLE.fullmatch(o)]:
        raise RunError(f"{path}: found {odd[0][:80]!r}, expected overrides of our own keys, without references")
    given = {o.partition("=")[0] for o in overrides}
    return [o for o in stored if o.partition("=")[0] not in given]


def _same_meaning(run_dir: Path, config: DictConfig) -> None:
    """Refuses to continue a run whose stored trials meant something else.

    Raises:
        ConfigError: with the keys that differ.
    """
    path = run_dir / "config.yaml"
    if not path.is_file():
        raise RunError(f"resume: no config.yaml in {run_dir}")
    stored = _flat(read_mapping(path))
    now = _flat(OmegaConf.to_container(config, resolve=True))
    differing = [k for k in sorted(stored.keys() | now.keys()) if stored.get(k) != now.get(k) and not _harmless(k)]
    if differing:
        changes = "; ".join(f"{k} was {stored.get(k)}, is {now.get(k)}" for k in differing[:3])
        raise ConfigError(f"resume: the configuration changed its meaning: {changes}")


def _harmless(key: str) -> bool:
    return any(key == k or key.startswith(k + ".") for k in _HARMLESS_ON_RESUME)


def _flat(node: object, prefix: str = "") -> dict[str, object]:
    if not isinstance(node, dict):
        return {prefix: node}
    return {
        k: v for key, value in node.items() for k, v in _flat(value, f"{prefix}.{key}" if prefix else str(key)).items()
    }


OmegaConf.register_new_resolver("vseg.either", lambda first, second: first or second, replace=True)
