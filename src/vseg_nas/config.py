"""From a command line to a checked, typed configuration; the only file besides the commands that knows Hydra.

Everything is composed and checked before Hydra creates a directory, so a mistake costs one line and no file.
"""

import argparse
import difflib
import errno
import os
import re
import shutil
import sys
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from contextlib import ExitStack
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
from vseg_nas.errors import ConfigError, RunError, UserError, one_line
from vseg_nas.nas.lock import RunLock
from vseg_nas.run_directory import check_same_meaning, forget_empty, stored_overrides
from vseg_nas.run_record import CONFIG, write_record
from vseg_nas.schema import CommandConfig
from vseg_nas.signals import INTERRUPTED, TERMINATED, Terminated, stopping
from vseg_nas.sweep import Sweep

_SHARED_KEYS = ("dataset", "experiment", "runs_dir", "static", "gpu", "phase.pretrain", "phase.train")
_ON_MANY_DEVICES = ("pretrain", "search", "train")
_LAUNCHERS = ("hydra._internal.core_plugins.", "hydra_plugins.")
_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EACCES)
_UNUSABLE = (errno.ENAMETOOLONG, errno.ENOTDIR, errno.ELOOP, errno.EIO)
_SHOWS_ONLY = ("help", "hydra_help", "info", "cfg", "shell_completion")
_FOREIGN = ("config_path", "config_name", "config_dir", "experimental_rerun")
"""Flags of Hydra by which it would read another configuration than the one that is checked."""
_OF_HYDRA = re.compile(
    r"[+~]*hydra(?:\.(?:run\.dir|sweep\.dir|sweep\.subdir)|/(?:launcher|sweeper)|\.(?:launcher|sweeper)(?:\.\w+)*)(?:=|$)"
)
"""Overrides of Hydra's own keys that are taken: where runs lie, and who runs several jobs."""


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
        def job(config: DictConfig, made: Collection[Path], sweep: Sweep | None) -> None:
            told = HydraConfig.get()
            run_dir = Path(told.runtime.output_dir)
            with ExitStack() as stack:
                stack.enter_context(_one_line_errors("debug=true" in sys.argv))
                typed = check(config, schema)
                if sweep is not None and stack.enter_context(sweep.job(told.job.num, run_dir, told.overrides.task)):
                    return
                stack.enter_context(stopping())
                stack.enter_context(RunLock(run_dir))
                is_new = getattr(typed, "resume", None) is None
                if is_new and sweep is not None and "resume" in schema.__dataclass_fields__ and _holds_a_run(run_dir):
                    check_same_meaning(run_dir, config)
                    is_new = False
                if is_new:
                    _refuse_a_run(run_dir, schema)
                    write_record(run_dir, OmegaConf.to_yaml(config, resolve=True), told.overrides.task)
                try:
                    if sweep is not None:
                        preflight(typed)
                    run(typed, run_dir)
                except UserError:
                    if is_new:
                        forget_empty(run_dir, [folder for folder in run_dir.parents if folder in made])
                    raise

        def main() -> None:
            with _one_line_errors("debug=true" in sys.argv):
                args = _arguments()
                shows_only = any(getattr(args, flag) for flag in _SHOWS_ONLY)
                made: set[Path] = set()
                sweep: Sweep | None = None
                if args.cfg:
                    _check_shown(verb, args.overrides, args.package)
                if not shows_only:
                    sys.argv[1:] += stored_overrides(args.overrides)
                    args = _arguments()
                    jobs = list(_jobs(verb, args.overrides, args.multirun))
                    made = _check_command_line(verb, schema, None if args.multirun else preflight, jobs)
                    os.environ["HYDRA_FULL_ERROR"] = "1"  # what fails from here on is our bug
                    if args.multirun:
                        sweep = Sweep(jobs, lambda error: None if "debug=true" in sys.argv else _fault(error))

                def task(config: DictConfig) -> None:
                    job(config, made, sweep)

                try:
                    hydra.main(config_path=str(conf_dir()), config_name=verb, version_base="1.3")(task)()
                finally:
                    if sweep is not None:
                        sweep.show()
            if sweep is not None and sweep.failed:
                raise SystemExit(2)

        return main

    return decorate


class _one_line_errors:
    """Turns the user's mistakes into one line and an exit status."""

    def __init__(self, debug: bool) -> None:
        self.debug = debug

    def __enter__(self) -> None:
        return None

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: object) -> None:
        line = _fault(error)
        if line is not None and not self.debug:
            _exit(line, 2)
        if isinstance(error, KeyboardInterrupt):
            _exit("interrupted", INTERRUPTED)
        if isinstance(error, Terminated):
            _exit(f"terminated by {error}", TERMINATED)


def _fault(error: BaseException | None) -> str | None:
    """The line for an error that is the user's fault; None for any other."""
    if isinstance(error, UserError):
        return one_line(str(error))
    if isinstance(error, OSError) and error.errno in _NO_ROOM:
        return one_line(f"{error.filename or 'a file'}: cannot be written ({error.strerror})")
    if isinstance(error, OSError) and error.errno in _UNUSABLE:
        return one_line(f"{str(error.filename or 'a file')[:80]}: cannot be used ({error.strerror})")
    return None


def _exit(message: str, status: int) -> NoReturn:
    sys.stderr.write(f"error: {message}\n")
    raise SystemExit(status)


def _arguments() -> argparse.Namespace:
    """The command line; its flags are put before the overrides, for Hydra takes none between them.

    Raises:
        ConfigError: it is none that is used here.
    """
    parser = get_args_parser()
    parser.error = _refuse_arguments  # type: ignore[method-assign]
    args = parser.parse_intermixed_args(sys.argv[1:])
    sys.argv[1:] = [argument for argument in sys.argv[1:] if argument not in args.overrides] + args.overrides
    if foreign := [flag for flag in _FOREIGN if getattr(args, flag) is not None]:
        raise ConfigError(f"--{foreign[0].replace('_', '-')}: not used here, expected overrides, key=value")
    if args.run + args.multirun + sum(bool(getattr(args, flag)) for flag in _SHOWS_ONLY) > 1:
        raise ConfigError("command line: found several flags, expected one of --run, --multirun, --cfg, --info, --help")
    if args.resolve and not (args.cfg or args.help):
        raise ConfigError("--resolve: found without --cfg, expected --cfg job --resolve")
    for override in args.overrides:
        if re.match(r"[+~]*hydra\b", override) and not _OF_HYDRA.match(override):
            key = override.lstrip("+~").partition("=")[0]
            raise ConfigError(f"{key[:80]}: not used here, expected hydra.run.dir, hydra.sweep.dir or hydra/launcher")
    return args


def _refuse_arguments(message: str) -> NoReturn:
    raise ConfigError(f"command line: {message[:150]}; see --help")


def _check_command_line(
    verb: str, schema: type[C], preflight: Callable[[C], None] | None, jobs: Sequence[list[str]]
) -> set[Path]:
    """Composes and checks every job that the command line asks for.

    Args:
        verb: the root file in ``conf/``.
        schema: the dataclass of the root.
        preflight: see `command`; None: each of several jobs looks at the disk when it begins.
        jobs: overrides of each.

    Returns:
        The folders that are not there yet and that Hydra will make above those of runs.

    Raises:
        ConfigError: in one line, what is wrong.
    """
    made: set[Path] = set()
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        for job in jobs:
            if reading := [override for override in job if "${oc.env" in override]:
                raise ConfigError(f"{reading[0][:80]}: found oc.env, expected the value: the environment is not read")
            composed = _compose(verb, job, with_hydra=True)
            _nothing_foreign_runs(composed.hydra)
            config = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
            typed = check(config, schema)
            _check_devices(verb, typed)
            if preflight is None:
                folder = _folder(composed, "hydra.sweep.dir").absolute()
                made |= {above for above in (folder, *folder.parents) if not above.exists()}
                continue
            preflight(typed)
            resume = getattr(typed, "resume", None)
            if resume is not None:
                check_same_meaning(Path(resume), config)
                continue
            run_dir = _folder(composed, "hydra.run.dir")
            _refuse_a_run(run_dir, schema)
            made |= {above for above in run_dir.absolute().parents if not above.exists()}
    GlobalHydra.instance().clear()
    return made


def _check_shown(verb: str, overrides: list[str], package: str | None) -> None:
    """Composes what ``--cfg`` shows.

    Raises:
        ConfigError: that cannot be done, or there is no such package in it.
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
    """Where runs will lie, as a key of Hydra's says.

    Raises:
        ConfigError: it says nothing, or nonsense.
    """
    try:
        folder = OmegaConf.select(composed, key)
    except OmegaConfBaseException as error:
        raise ConfigError(f"{key}: {' '.join(str(error).split())[:100]}") from error
    if not isinstance(folder, str) or not folder:
        raise ConfigError(f"{key}: found {str(folder)[:80]!r}, expected a folder")
    return Path(folder)


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
    if _holds_a_run(run_dir):
        go_on = f"continue it with resume={run_dir}, or " if "resume" in schema.__dataclass_fields__ else ""
        raise RunError(f"{run_dir}: holds a run already; {go_on}choose another name")


def _holds_a_run(run_dir: Path) -> bool:
    """Whether a run lies there, finished or not."""
    return (run_dir / CONFIG).exists()


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


OmegaConf.register_new_resolver("vseg.either", lambda first, second: first or second, replace=True)
