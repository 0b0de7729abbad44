"""What a look at the disk says of the directory in which a run shall lie."""

import os
from pathlib import Path

from omegaconf import DictConfig

from vseg_nas.cli.values import assignment
from vseg_nas.errors import ConfigError, RunError
from vseg_nas.runs.folder import check_folder
from vseg_nas.runs.record import CONFIG
from vseg_nas.runs.resume import UNFINISHED, check_same_command
from vseg_nas.schema import CommandConfig


def check_current_folder() -> None:
    """Checks that the current folder, which relative paths begin in, is still there.

    Raises:
        RunError: It has been removed.
    """
    try:
        os.getcwd()
    except FileNotFoundError:
        raise RunError("the current folder: found it removed, expected one that is there; change to it again") from None


def check_can_be_made(run_dir: Path) -> None:
    """Checks that the nearest existing thing on the way to a run directory is a folder.

    Raises:
        ConfigError: It is not a folder.
    """
    there = next((path for path in (run_dir, *run_dir.parents) if os.path.lexists(path)), None)
    if there is not None and not there.is_dir():
        raise ConfigError(f"runs_dir: {there} is no folder, expected one, so that {run_dir} can be made")


def holds_a_run(run_dir: Path) -> bool:
    """Returns whether a run lies there, finished or not."""
    return (run_dir / CONFIG).exists()


def is_resumable(schema: type[CommandConfig]) -> bool:
    """Returns whether a command can resume a run. One that cannot begins an unfinished run again."""
    return "resume" in schema.model_fields


def refuse_a_run(run_dir: Path, config: DictConfig, schema: type[CommandConfig]) -> None:
    """Refuses a directory that holds a run, unless that is an unfinished one of a command that begins again.

    Args:
        run_dir: The directory in which a new run shall begin.
        config: The configuration of the new run.
        schema: The model of the configuration.

    Raises:
        RunError: The directory holds a run, or more than files and folders.
    """
    check_folder(run_dir, to_write=True)
    if not holds_a_run(run_dir):
        return
    if not is_resumable(schema) and (run_dir / UNFINISHED).is_file():
        check_same_command(run_dir, config, schema)
        return
    go_on = f"continue it with {assignment('resume', run_dir)}, or " if is_resumable(schema) else ""
    raise RunError(f"{run_dir}: holds a run already; {go_on}choose another name")
