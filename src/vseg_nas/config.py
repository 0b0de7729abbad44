"""From a command line to a checked, typed configuration; the only file besides the commands that knows Hydra.

Everything is composed and checked before Hydra creates a directory, so a mistake costs one line and no file.
"""

import argparse
import difflib
import os
import re
import shlex
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from reprlib import repr as brief
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
from vseg_nas.runs.exits import OneLineErrors, fault_line
from vseg_nas.runs.folder import check_folder
from vseg_nas.runs.lock import RunLock
from vseg_nas.runs.record import CONFIG, flat, key_of, write_record
from vseg_nas.runs.resume import (
    UNFINISHED,
    check_same_command,
    check_same_meaning,
    mark_unfinished,
    moved_runs_dir,
    remove_without_results,
    stored_overrides,
)
from vseg_nas.runs.signals import stopping
from vseg_nas.runs.streams import open_missing_streams
from vseg_nas.schema import CommandConfig, NetworkConfig
from vseg_nas.settings import text_keys
from vseg_nas.sweep import Sweep

_SHARED_KEYS = ("dataset", "experiment", "runs_dir", "static", "gpu", "phase.pretrain", "phase.train")
_ON_MANY_DEVICES = ("pretrain", "search", "train")
_LAUNCHERS = ("hydra._internal.core_plugins.", "hydra_plugins.")
_ABSENT = object()
_SHOWS_ONLY = ("help", "hydra_help", "info", "cfg", "shell_completion")
_FOREIGN = ("config_path", "config_name", "config_dir", "experimental_rerun")
"""Flags of Hydra by which something would run that is not checked here; the last one reads a pickle."""
_OF_HYDRA = re.compile(
    r"[+~]*hydra(?:\.(?:run\.dir|sweep\.dir|sweep\.subdir)|/(?:launcher|sweeper)|\.(?:launcher|sweeper)(?:\.\w+)*)(?:=|$)"
)
"""The overrides of Hydra's own keys that are allowed: where runs lie, and what runs several jobs."""


def conf_dir() -> Path:
    """Returns the Hydra tree: beside ``src`` in a checkout, inside the package in a wheel."""
    inside = Path(__file__).parent / "conf"
    return inside if inside.is_dir() else Path(__file__).parents[2] / "conf"


def command(
    verb: str,
    schema: type[C],
    preflight: Callable[[C], None] = lambda config: None,
    products: Sequence[str] = (),
) -> Callable[[Callable[[C, Path], None]], Callable[[], None]]:
    """Makes a console entry point of ``run(config, run_dir)``.

    One process at a time runs in a run directory. The user's mistakes end in one line on stderr and status 2, Ctrl-C in
    status 130, SIGTERM and SIGUSR1 in 143, a closed terminal in 129, and a closed reader of stdout in 141. With
    ``--multirun`` all jobs run; the status is 2 if one of them failed.

    Args:
        verb: The name of the root file in ``conf/``.
        schema: The model of the root.
        preflight: Raises `UserError` for what a look at the disk shows to be missing. It runs before any directory is
            made, so it should cost nothing.
        products: The names of what a run makes and does not replace by itself; it is removed when a killed run begins
            again.
    """
    resumable = "resume" in schema.model_fields

    def decorate(run: Callable[[C, Path], None]) -> Callable[[], None]:
        def job(config: DictConfig, made: Collection[Path], sweep: Sweep | None) -> None:
            told = HydraConfig.get()
            run_dir = Path(told.runtime.output_dir)
            with ExitStack() as stack:
                stack.enter_context(OneLineErrors("debug=true" in sys.argv))
                typed = check(config, schema)
                if sweep is not None and stack.enter_context(sweep.job(told.job.num, run_dir, told.overrides.task)):
                    return
                stack.enter_context(stopping())
                stack.enter_context(RunLock(run_dir))
                is_new = getattr(typed, "resume", None) is None
                # A sweep that is started again by the same command resumes each of its jobs that has begun.
                if is_new and sweep is not None and resumable and _holds_a_run(run_dir):
                    check_same_meaning(run_dir, config, schema)
                    is_new = False
                if is_new:
                    # The command line was checked without the lock: another process may have begun a run here since.
                    _refuse_a_run(run_dir, schema, config)
                    if not resumable:
                        mark_unfinished(run_dir, products)
                    write_record(run_dir, OmegaConf.to_yaml(config, resolve=True), told.overrides.task)
                try:
                    # A single job was checked before its directory was made; jobs of a sweep each when they begin.
                    if sweep is not None:
                        preflight(typed)
                    run(typed, run_dir)
                except (UserError, OSError) as error:
                    # The corrected command may then use the name. What raised for another reason keeps its traces.
                    if is_new and fault_line(error) is not None:
                        remove_without_results(run_dir, [folder for folder in run_dir.parents if folder in made])
                    raise
                (run_dir / UNFINISHED).unlink(missing_ok=True)

        def main() -> None:
            open_missing_streams()
            with OneLineErrors("debug=true" in sys.argv):
                _check_current_folder()
                args = _arguments(verb, schema)
                made: set[Path] = set()
                sweep: Sweep | None = None
                if args.cfg:
                    _check_shown(verb, args.overrides, args.package)
                if not _shows_only(args):
                    jobs = _jobs(verb, args.overrides, args.multirun)
                    made = _check_command_line(verb, schema, None if args.multirun else preflight, jobs)
                    os.environ["HYDRA_FULL_ERROR"] = "1"  # what fails from here on is our bug
                    if args.multirun:
                        sweep = Sweep(jobs, lambda error: None if "debug=true" in sys.argv else fault_line(error))

                def task(config: DictConfig) -> None:
                    job(config, made, sweep)

                # Hydra reads sys.argv by itself, composes the same jobs once more, and makes the run directories.
                try:
                    hydra.main(config_path=str(conf_dir()), config_name=verb, version_base="1.3")(task)()
                finally:
                    if sweep is not None:
                        sweep.show()
            if sweep is not None and sweep.failed:
                raise SystemExit(2)

        return main

    return decorate


def _check_current_folder() -> None:
    try:
        os.getcwd()
    except FileNotFoundError:
        raise RunError("the current folder: found it removed, expected one that is there; change to it again") from None


def _shows_only(args: argparse.Namespace) -> bool:
    return any(getattr(args, flag) for flag in _SHOWS_ONLY)


def _arguments(verb: str, schema: type[CommandConfig]) -> argparse.Namespace:
    """Reads the command line, and puts into ``sys.argv`` what Hydra is to read.

    There, flags come first, since Hydra takes none between overrides; values mean what is written; and the overrides
    of a run that is resumed are added.

    Raises:
        UserError: It is no command line that is used here, or there is nothing to resume.
    """
    parser = get_args_parser()
    parser.error = _refuse_arguments  # type: ignore[method-assign]
    args = parser.parse_intermixed_args(sys.argv[1:])
    flags = [argument for argument in sys.argv[1:] if argument not in args.overrides]
    if foreign := [flag for flag in _FOREIGN if getattr(args, flag) is not None]:
        found = brief(getattr(args, foreign[0]))
        raise ConfigError(f"--{foreign[0].replace('_', '-')}: found {found}, expected overrides alone; see --help")
    if args.run + args.multirun + sum(bool(getattr(args, flag)) for flag in _SHOWS_ONLY) > 1:
        raise ConfigError("command line: found several flags, expected one of --run, --multirun, --cfg, --info, --help")
    if args.resolve and not (args.cfg or args.help):
        raise ConfigError("--resolve: found without --cfg, expected --cfg job --resolve")
    for override in args.overrides:
        if re.match(r"[+~]*hydra\b", override) and not _OF_HYDRA.match(override):
            raise ConfigError(
                f"{key_of(override)[:80]}: not used here, expected hydra.run.dir, hydra.sweep.dir or hydra/launcher"
            )
    keys = text_keys(schema)
    args.overrides = [as_written(override, keys, args.multirun) for override in args.overrides]
    if not _shows_only(args):
        args.overrides += _stored_overrides(verb, args.overrides)
    sys.argv[1:] = flags + args.overrides
    return args


def _refuse_arguments(message: str) -> NoReturn:
    raise ConfigError(f"command line: {message[:150]}; see --help")


def _stored_overrides(verb: str, overrides: Sequence[str]) -> list[str]:
    """Returns the overrides of the run that ``resume=`` names; ``runs_dir`` is where it lies now, if not given."""
    resume = text_of("resume", overrides)
    if resume is None:
        return []
    stored = stored_overrides(Path(resume), overrides)
    if "runs_dir" in map(key_of, overrides) or (moved := moved_runs_dir(Path(resume), verb)) is None:
        return stored
    return [*(override for override in stored if key_of(override) != "runs_dir"), quoted("runs_dir", moved)]


def _check_command_line(
    verb: str, schema: type[C], preflight: Callable[[C], None] | None, jobs: Sequence[list[str]]
) -> set[Path]:
    """Composes and checks every job that the command line asks for.

    Args:
        verb: The name of the root file in ``conf/``.
        schema: The model of the root.
        preflight: The check of the disk, as for `command`; None if each of several jobs makes it when it begins.
        jobs: The overrides of each job.

    Returns:
        The folders that are not there yet and that Hydra will make.

    Raises:
        UserError: The message says in one line what is wrong.
    """
    made: set[Path] = set()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for job in jobs:
            composed = _compose(verb, job, with_hydra=True)
            config = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
            typed = check(config, schema)
            try:
                _nothing_foreign_runs(composed.hydra)
            except OmegaConfBaseException as error:
                raise _explain(verb, error, job) from error
            _check_devices(verb, typed)
            if preflight is not None:
                preflight(typed)
            folder = _folder(composed, "hydra.sweep.dir" if preflight is None else "hydra.run.dir")
            _check_can_be_made(folder)
            made |= {path for path in (folder.absolute(), *folder.absolute().parents) if not path.exists()}
            if preflight is None:
                continue
            resume = getattr(typed, "resume", None)
            if resume is not None:
                check_same_meaning(Path(resume), config, schema)
            else:
                _refuse_a_run(folder, schema, config)
    GlobalHydra.instance().clear()
    return made


def _check_shown(verb: str, overrides: list[str], package: str | None) -> None:
    """Composes what ``--cfg`` shows.

    Raises:
        ConfigError: Hydra cannot show it, or the configuration has no such package.
    """
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        composed = _compose(verb, overrides, with_hydra=True)
    GlobalHydra.instance().clear()
    if package is not None and package not in _packages(OmegaConf.to_container(composed, resolve=False)):
        raise ConfigError(f"--package: found no {package[:80]!r}, expected a key that holds others")


def _packages(node: object, prefix: str = "") -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            yield f"{prefix}{key}"
            yield from _packages(value, f"{prefix}{key}.")


def _folder(composed: DictConfig, key: str) -> Path:
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


def _check_can_be_made(run_dir: Path) -> None:
    """Checks that the nearest existing thing on the way to a run directory is a folder.

    Raises:
        ConfigError: It is not a folder.
    """
    there = next((path for path in (run_dir, *run_dir.parents) if os.path.lexists(path)), None)
    if there is not None and not there.is_dir():
        raise ConfigError(f"runs_dir: {there} is no folder, expected one, so that {run_dir} can be made")


def _check_devices(verb: str, config: CommandConfig) -> None:
    gpu = getattr(config, "gpu", None)
    if gpu is not None and gpu.devices != 1 and verb not in _ON_MANY_DEVICES:
        found = "null (all)" if gpu.devices is None else gpu.devices
        raise ConfigError(f"gpu.devices: found {found}, expected 1: {verb} computes on one device; use gpu=one")


def _refuse_a_run(run_dir: Path, schema: type[CommandConfig], config: DictConfig) -> None:
    """Refuses a directory that holds a run, unless that is an unfinished one of a command that begins again.

    Raises:
        RunError: The directory holds a run, or more than files and folders.
    """
    check_folder(run_dir, to_write=True)
    if not _holds_a_run(run_dir):
        return
    resumable = "resume" in schema.model_fields
    if not resumable and (run_dir / UNFINISHED).is_file():
        check_same_command(run_dir, config)
        return
    go_on = f"continue it with {assignment('resume', run_dir)}, or " if resumable else ""
    raise RunError(f"{run_dir}: holds a run already; {go_on}choose another name")


def _holds_a_run(run_dir: Path) -> bool:
    """Returns whether a run lies there, finished or not."""
    return (run_dir / CONFIG).exists()


def _nothing_foreign_runs(hydra_config: DictConfig) -> None:
    """Checks Hydra's own configuration, since Hydra imports and calls what that names.

    Raises:
        ConfigError: It names more than a launcher and a sweeper that are installed as such.
    """
    if hydra_config.get("callbacks"):
        raise ConfigError("hydra.callbacks: found some, expected none")
    for name in ("launcher", "sweeper"):
        target = str(hydra_config[name].get("_target_"))
        if not target.startswith(_LAUNCHERS):
            raise ConfigError(f"hydra.{name}: found {target[:80]!r}, expected an installed plugin of Hydra")


def _jobs(verb: str, overrides: list[str], multirun: bool) -> list[list[str]]:
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
    """Returns Hydra's message in one line, with the alternatives."""
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
    """Returns an error that suggests keys: near ones, of the options that the command line picks, and groups.

    A group is suggested that has the option which was asked for, as ``pruner`` for ``stop=median``.
    """
    groups = {path.name for path in conf_dir().iterdir() if path.is_dir()} - {"hydra"}
    picked = [o for o in overrides if o.partition("=")[0] in groups - {key}]
    config = _compose(verb, picked)
    groups &= {str(name) for name in config}
    known = set(flat(OmegaConf.to_container(config, resolve=False))) | groups
    by_tail = [k for k in known if k.rpartition(".")[2] == key.rpartition(".")[2]]
    asked = {o.partition("=")[2] for o in overrides if key_of(o) == key and "." not in key}
    by_option = [group for group in groups if asked & {path.stem for path in (conf_dir() / group).glob("*.yaml")}]
    near = [*difflib.get_close_matches(key, sorted(known), n=3), *sorted(by_tail), *sorted(by_option)]
    near = list(dict.fromkeys(near))[:3]
    hint = f"did you mean {', '.join(near)}?" if near else "see --help for the keys"
    return ConfigError(f"{key}: no such key; {hint}")


def python_command() -> str:
    """Returns how a shell starts this Python from the current folder: ``python`` if that is this one."""
    if shutil.which("python") == sys.executable:
        return "python"
    here = Path(sys.executable)
    return shlex.quote(str(here.relative_to(Path.cwd()) if here.is_relative_to(Path.cwd()) else here))


def shared_overrides() -> str:
    """Returns the part of this command line that every command on a data set takes, to print another command."""
    keys = tuple(f"{key}{sign}" for key in _SHARED_KEYS for sign in "=.")
    shared = [argument for argument in sys.argv[1:] if argument.startswith(keys)]
    one_device = ["gpu=one" if argument == "gpu=many" else argument for argument in shared]
    kept = (argument for argument in one_device if not argument.startswith("gpu.devices="))
    return shown(kept, text_keys(NetworkConfig))


def _refuse_environment(*arguments: object) -> NoReturn:
    """Replaces ``oc.env``, so that nothing reads the environment, however a reference to it is spelled or nested."""
    raise ConfigError("found oc.env, expected the value: the environment is not read")


OmegaConf.register_new_resolver("oc.env", _refuse_environment, replace=True)
OmegaConf.register_new_resolver("vseg.either", lambda first, second: first or second, replace=True)
