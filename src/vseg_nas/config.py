"""From a command line to a checked, typed configuration; the only file besides the commands that knows Hydra.

Everything is composed and checked before Hydra creates a directory, so a mistake costs one line and no file.
"""

import difflib
import errno
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import NoReturn

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

from vseg_nas.checking import C, check
from vseg_nas.command_line import as_written, assignment, quoted, shown, text_of
from vseg_nas.errors import ConfigError, RunError, UserError
from vseg_nas.nas.lock import RunLock
from vseg_nas.run_directory import check_same_meaning, forget_empty, moved_runs_dir, stored_overrides
from vseg_nas.run_record import CONFIG, write_record
from vseg_nas.schema import CommandConfig, NetworkConfig, text_keys
from vseg_nas.signals import INTERRUPTED, TERMINATED, Terminated, stopping

_SHARED_KEYS = ("dataset", "experiment", "runs_dir", "static", "gpu", "phase.pretrain", "phase.train")
_ON_MANY_DEVICES = ("pretrain", "search", "train")
_LAUNCHERS = ("hydra._internal.core_plugins.", "hydra_plugins.")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
_ABSENT = object()
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
            with _one_line_errors(typed.debug), stopping(), RunLock(run_dir):
                if getattr(typed, "resume", None) is None:
                    _refuse_a_run(run_dir, schema)
                    write_record(run_dir, OmegaConf.to_yaml(config, resolve=True), HydraConfig.get().overrides.task)
                try:
                    run(typed, run_dir)
                except UserError:
                    if getattr(typed, "resume", None) is None:
                        forget_empty(run_dir)
                    raise

        def main() -> None:
            args = get_args_parser().parse_args(sys.argv[1:])
            with _one_line_errors("debug=true" in args.overrides):
                sys.argv[1:] = _as_written(schema, sys.argv[1:], args.overrides, args.multirun)
                if not any(getattr(args, flag) for flag in _SHOWS_ONLY):
                    args = get_args_parser().parse_args(sys.argv[1:])
                    sys.argv[1:] += _stored_overrides(verb, args.overrides)
                    args = get_args_parser().parse_args(sys.argv[1:])
                    _check_command_line(verb, schema, preflight, args.overrides, args.multirun)
                os.environ["HYDRA_FULL_ERROR"] = "1"  # what fails from here on is our bug
            with _one_line_errors("debug=true" in sys.argv):  # Hydra makes the folder of a run
                hydra.main(config_path=str(conf_dir()), config_name=verb, version_base="1.3")(job)()

        return main

    return decorate


def _as_written(
    schema: type[CommandConfig], arguments: Sequence[str], overrides: Sequence[str], multirun: bool
) -> list[str]:
    """The arguments of a command line, those of them that are overrides as Hydra has to be given them."""
    keys = text_keys(schema)
    return [as_written(argument, keys, multirun) if argument in overrides else argument for argument in arguments]


def _stored_overrides(verb: str, overrides: Sequence[str]) -> list[str]:
    """Those of the run that ``resume=`` names, in the folder of runs that it lies in now if none is given."""
    resume = text_of("resume", overrides)
    if resume is None:
        return []
    stored = stored_overrides(Path(resume), overrides)
    moved = moved_runs_dir(Path(resume), verb)
    if moved is None or any(override.startswith("runs_dir=") for override in overrides):
        return stored
    return [*(override for override in stored if not override.startswith("runs_dir=")), quoted("runs_dir", moved)]


class _one_line_errors:
    """Turns the user's mistakes into one line and an exit status."""

    def __init__(self, debug: bool) -> None:
        self.debug = debug

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        if isinstance(error, UserError) and not self.debug:
            _exit(" ".join(str(error).split()), 2)
        if isinstance(error, OSError) and error.errno in _NO_ROOM and not self.debug:
            _exit(f"{error.filename or 'a file'}: cannot be written ({error.strerror})", 2)
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
                check_same_meaning(Path(resume), config)
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
    if (run_dir / CONFIG).exists():
        resumable = "resume" in schema.__dataclass_fields__
        go_on = f"continue it with {assignment('resume', run_dir)}, or " if resumable else ""
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
        key, sign, _ = str(error.override).partition("=")
        if sign and OmegaConf.select(_compose(verb, []), key.lstrip("+~"), default=_ABSENT) is _ABSENT:
            return _unknown_key(verb, key.lstrip("+~"), [])
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
    """How to start this Python from the current folder, for the shell: ``python`` if that is it."""
    if shutil.which("python") == sys.executable:
        return "python"
    here = Path(sys.executable)
    return shlex.quote(str(here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here))


def shared_overrides() -> str:
    """The part of this command line that every command on a data set understands, to print another one's command."""
    keys = tuple(f"{key}{sign}" for key in _SHARED_KEYS for sign in "=.")
    shared = [argument for argument in sys.argv[1:] if argument.startswith(keys)]
    one_device = ["gpu=one" if argument == "gpu=many" else argument for argument in shared]
    kept = (argument for argument in one_device if not argument.startswith("gpu.devices="))
    return shown(kept, text_keys(NetworkConfig))


OmegaConf.register_new_resolver("vseg.either", lambda first, second: first or second, replace=True)
