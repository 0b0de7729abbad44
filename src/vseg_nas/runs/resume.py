"""How the record of a run is used: to resume the run, and to refuse a configuration with another meaning.

A command that cannot resume leaves an unfinished run when it is killed; the same command begins that run again.
"""

import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from vseg_nas.errors import ConfigError, RunError
from vseg_nas.runs.digests import CHECKPOINT_DIGESTS_FILE, DATA_DIGESTS_FILE, ENCODER_DIGEST_FILE, STATIC_DIGEST_FILE
from vseg_nas.runs.files import write_text
from vseg_nas.runs.folder import check_folder
from vseg_nas.runs.lock import RunLock
from vseg_nas.runs.record import (
    CONFIG,
    DIGESTS,
    GENOTYPE_FILE,
    OVERRIDES,
    flat,
    is_among,
    key_of,
    recorded_config,
    recorded_overrides,
)
from vseg_nas.settings import Settings, free_keys

UNFINISHED = "unfinished"
"""File of the run directory of a command that cannot resume, until the command has succeeded."""
_BOOKKEEPING = {
    *(CONFIG, OVERRIDES, DIGESTS, "lock", "log", UNFINISHED),
    *(CHECKPOINT_DIGESTS_FILE, DATA_DIGESTS_FILE, ENCODER_DIGEST_FILE, GENOTYPE_FILE, STATIC_DIGEST_FILE),
}
"""Files of a run directory that a run without any result holds."""
_STORABLE = re.compile(r"[+~]{0,2}(?!hydra\b)[A-Za-z_][\w./-]*(=(?:(?!\$\{).)*)?", re.DOTALL | re.ASCII)
"""Overrides that a run directory, which may come from anybody, may contribute to a command line.

Hydra's own keys are not among them, nor is anything that is put into another package, nor ``${``, which OmegaConf takes
for a reference wherever it stands.
"""
_ADDRESS = "executor.address"
_SHOWN = 60  # characters of a value in a message


def folder_hint(path: Path) -> str:
    """Returns a hint for an error message where a file of a run was given instead of the run directory."""
    return f"; did you mean {path.parent}?" if path.is_file() else ""


def remove_without_results(run_dir: Path, above: Sequence[Path] = ()) -> None:
    """Removes a run that ended without a result, so that the corrected command can use its name.

    Args:
        run_dir: The run directory.
        above: The folders that were made for it, the innermost first; empty ones are removed too.
    """
    found = {path.name for path in run_dir.iterdir()}
    if found <= _BOOKKEEPING:
        for name in found:
            (run_dir / name).unlink()
        for folder in (run_dir, *above):
            with suppress(OSError):  # the folder holds another run
                folder.rmdir()


def mark_unfinished(run_dir: Path, products: Sequence[str]) -> None:
    """Marks a run as unfinished and removes what a killed run has left.

    Args:
        run_dir: The run directory; it holds no run, or an unfinished one of the same command.
        products: The names of files and folders that the command makes and does not replace by itself.

    Raises:
        RunError: One of the products exists and belongs to no run, or the folder cannot be written to.
    """
    mark = run_dir / UNFINISHED
    there = [run_dir / name for name in products if os.path.lexists(run_dir / name)]
    if not mark.is_file():
        if there:
            raise RunError(f"{there[0]}: is there already and of no run; move it or choose another name")
        write_text(mark, "This run has not finished. The same command replaces what is here.\n")
    for path in [*there, *run_dir.glob(".*.partial*")]:
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()


def check_same_command(run_dir: Path, config: DictConfig, schema: type[Settings]) -> None:
    """Refuses to replace an unfinished run of another command.

    Raises:
        RunError: Keys differ; the message names them.
    """
    if changes := _changes(run_dir, config, free_keys(schema, "when_replaced")):
        raise RunError(f"{run_dir}: holds an unfinished run of another command ({changes}); choose another name")


def stored_overrides(run_dir: Path, overrides: Sequence[str]) -> list[str]:
    """Returns the overrides of a run that is resumed, without those that the command line sets again.

    Args:
        run_dir: The run directory.
        overrides: The overrides of the command line.

    Raises:
        RunError: There is no run, another process holds it, or what it stores cannot be used.
    """
    path = run_dir / OVERRIDES
    if not path.is_file():
        raise RunError(f"resume: no run in {run_dir}, expected a directory with {OVERRIDES}{folder_hint(run_dir)}")
    check_folder(run_dir, to_write=True)
    with RunLock(run_dir):  # refuses at once a run that another process holds
        pass
    stored = recorded_overrides(run_dir)
    if odd := [o for o in stored if not _STORABLE.fullmatch(o)]:
        raise RunError(f"{path}: found {odd[0][:80]!r}, expected overrides of our own keys, without references")
    given = set(map(key_of, overrides))
    taken = [o for o in stored if key_of(o) not in given]
    # A Ray cluster makes this process run code, so the cluster is never chosen by a file.
    if any(key_of(o) == _ADDRESS for o in taken) and "executor" not in given:
        raise RunError(f"{path}: found {_ADDRESS}; give it again: what a cluster sends is run, so no file chooses it")
    if _executor(overrides) not in (None, _executor(stored)):  # options of one executor mean nothing to another
        taken = [o for o in taken if not key_of(o).startswith("executor.")]
    return [o for o in taken if key_of(o) != _ADDRESS]


def _executor(overrides: Sequence[str]) -> str | None:
    """Returns the executor that the last of some overrides picks; None if none does."""
    return next((o.partition("=")[2] for o in reversed(overrides) if key_of(o) == "executor"), None)


def moved_runs_dir(run_dir: Path, verb: str) -> str | None:
    """Returns the ``runs_dir`` that a run lies in now, if the run has been moved.

    Static networks and caches lie in the same folder, so a run that was moved along with them finds them again.

    Args:
        run_dir: The run directory.
        verb: The name of the command that made the run.

    Returns:
        The folder; None if the run lies where it was made, or in no folder of that structure.
    """
    recorded = flat(recorded_config(run_dir))
    parts = Path(os.path.abspath(run_dir)).parts
    for index in range(len(parts) - 3, 0, -1):
        if parts[index : index + 2] == (verb, str(recorded.get("dataset.name"))):
            runs_dir = Path(*parts[:index])
            same = Path(str(recorded.get("runs_dir"))).resolve() == runs_dir.resolve()
            return None if same else str(runs_dir)
    return None


def check_same_meaning(run_dir: Path, config: DictConfig, schema: type[Settings]) -> None:
    """Refuses to resume a run whose stored trials were made with another configuration.

    Raises:
        ConfigError: Keys differ that matter; the message names them.
        RunError: The directory holds no configuration.
    """
    if not (run_dir / CONFIG).is_file():
        raise RunError(f"resume: no {CONFIG} in {run_dir}")
    if changes := _changes(run_dir, config, free_keys(schema, "when_resumed")):
        raise ConfigError(f"resume: the configuration changed its meaning: {changes}")


def _changes(run_dir: Path, config: DictConfig, harmless: Sequence[str]) -> str:
    """Returns the first three keys, other than the harmless ones, whose values differ from those of a stored run."""
    stored = flat(recorded_config(run_dir))
    now = flat(OmegaConf.to_container(config, resolve=True))
    keys = [key for key in sorted(stored.keys() | now.keys()) if stored.get(key) != now.get(key)]
    differing = [key for key in keys if not is_among(key, harmless)]
    return "; ".join(f"{k} was {_shown(stored.get(k))}, is {_shown(now.get(k))}" for k in differing[:3])


def _shown(value: object) -> str:
    return str(value) if len(str(value)) <= _SHOWN else f"{str(value)[:_SHOWN]}..."
