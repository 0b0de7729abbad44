"""Reads the command line before Hydra does: its flags, its overrides, and those of a run that is resumed."""

import argparse
import re
import sys
from collections.abc import Sequence
from pathlib import Path
from reprlib import repr as brief
from typing import NoReturn

from hydra._internal.utils import get_args_parser

from vseg_nas.cli.values import as_written, quoted, text_of
from vseg_nas.errors import ConfigError
from vseg_nas.runs.record import key_of
from vseg_nas.runs.resume import moved_runs_dir, stored_overrides
from vseg_nas.schema import CommandConfig
from vseg_nas.settings import text_keys

_DISPLAY_FLAGS = ("help", "hydra_help", "info", "cfg", "shell_completion")
_REFUSED_FLAGS = ("config_path", "config_name", "config_dir", "experimental_rerun")
"""Flags of Hydra by which something would run that is not checked here; the last one reads a pickle."""
_ALLOWED_HYDRA_KEYS = re.compile(
    r"[+~]*hydra(?:\.(?:run\.dir|sweep\.dir|sweep\.subdir)|/(?:launcher|sweeper)|\.(?:launcher|sweeper)(?:\.\w+)*)(?:=|$)"
)
"""The overrides of Hydra's own keys that are allowed: where runs lie, and what runs several jobs."""


def only_displays(args: argparse.Namespace) -> bool:
    """Returns whether a command line asks for nothing but to show something, such as ``--help``."""
    return any(getattr(args, flag) for flag in _DISPLAY_FLAGS)


def read_arguments(verb: str, schema: type[CommandConfig]) -> argparse.Namespace:
    """Reads the command line, and puts into ``sys.argv`` what Hydra is to read.

    There, flags come first, since Hydra takes none between overrides; values mean what is written; and the overrides
    of a run that is resumed are added.

    Args:
        verb: The name of the command.
        schema: The model of its configuration.

    Raises:
        UserError: It is no command line that is used here, or there is nothing to resume.
    """
    parser = get_args_parser()
    parser.error = _refuse_arguments  # type: ignore[method-assign]
    args = parser.parse_intermixed_args(sys.argv[1:])
    flags = [argument for argument in sys.argv[1:] if argument not in args.overrides]
    if refused := [flag for flag in _REFUSED_FLAGS if getattr(args, flag) is not None]:
        found = brief(getattr(args, refused[0]))
        raise ConfigError(f"--{refused[0].replace('_', '-')}: found {found}, expected overrides alone; see --help")
    if args.run + args.multirun + sum(bool(getattr(args, flag)) for flag in _DISPLAY_FLAGS) > 1:
        raise ConfigError("command line: found several flags, expected one of --run, --multirun, --cfg, --info, --help")
    if args.resolve and not (args.cfg or args.help):
        raise ConfigError("--resolve: found without --cfg, expected --cfg job --resolve")
    for override in args.overrides:
        if re.match(r"[+~]*hydra\b", override) and not _ALLOWED_HYDRA_KEYS.match(override):
            raise ConfigError(
                f"{key_of(override)[:80]}: not used here, expected hydra.run.dir, hydra.sweep.dir or hydra/launcher"
            )
    keys = text_keys(schema)
    args.overrides = [as_written(override, keys, args.multirun) for override in args.overrides]
    if not only_displays(args):
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
