"""How the record of a run is used: to go on, to refuse what changed its meaning, to leave nothing of a false start."""

import os
import re
import shutil
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from vseg_nas.checking import CHECKPOINT_NOTE, DATA_NOTE, ENCODER_NOTE, GENOTYPE_NOTE, WEIGHTS_NOTE, C, check
from vseg_nas.command_line import key_of
from vseg_nas.errors import ConfigError, RunError
from vseg_nas.files import check_folder, write_text
from vseg_nas.nas.lock import RunLock
from vseg_nas.run_record import (
    CONFIG,
    DIGESTS,
    OVERRIDES,
    flat,
    is_among,
    recorded_config,
    recorded_overrides,
)
from vseg_nas.settings import Settings, free_keys

_HARMLESS_IN_ANOTHER = ("debug", "runs_dir", "name")
UNFINISHED = "unfinished"
"""File of a run directory whose command has not come to its end and cannot resume: the same command begins again."""
_BOOKKEEPING = {
    *(CONFIG, OVERRIDES, DIGESTS, "lock", "log", UNFINISHED),
    *(CHECKPOINT_NOTE, DATA_NOTE, ENCODER_NOTE, GENOTYPE_NOTE, WEIGHTS_NOTE),
}
_STORABLE = re.compile(r"[+~]{0,2}(?!hydra\b)[A-Za-z_][\w./-]*(=(?:(?!\$\{).)*)?", re.DOTALL | re.ASCII)
"""Overrides that a run directory, which may be anybody's, may bring along: none of Hydra's own, nothing put into
another package, and no ``${``, which is what OmegaConf takes for a reference wherever it stands."""
_ADDRESS = "executor.address"
_SHOWN = 60  # characters of a value


def stored_config(run_dir: Path, schema: type[C], verb: str) -> C:
    """The configuration of a run, with the folder of runs that it lies in now; see `moved_runs_dir`.

    Raises:
        RunError: the directory holds no run, one of another kind, or more than files and folders.
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


def folder_of(path: Path) -> str:
    """A hint where a file of a run is named instead of the run."""
    return f"; did you mean {path.parent}?" if path.is_file() else ""


def forget_empty(run_dir: Path, above: Sequence[Path] = ()) -> None:
    """Removes a run that ended before it had anything to keep, so that the mended command can use its name.

    Args:
        run_dir: of it.
        above: folders that were made for it, the innermost first; removed, too, where they are empty.
    """
    found = {path.name for path in run_dir.iterdir()}
    if found <= _BOOKKEEPING:
        for name in found:
            (run_dir / name).unlink()
        for folder in (run_dir, *above):
            with suppress(OSError):  # another run is in there
                folder.rmdir()


def begin(run_dir: Path, products: Sequence[str]) -> None:
    """Marks a run as unfinished, and removes what a killed one has left.

    Args:
        run_dir: holds no run, or one of the same command that did not finish.
        products: names of files and folders that a run makes and does not replace.

    Raises:
        RunError: one of them is there and is no leftover, or the folder cannot be written to.
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


def check_same_command(run_dir: Path, config: DictConfig) -> None:
    """Refuses to replace an unfinished run of something else.

    Raises:
        RunError: with the keys that differ.
    """
    if changes := _changes(run_dir, config, _HARMLESS_IN_ANOTHER):
        raise RunError(f"{run_dir}: holds an unfinished run of another command ({changes}); choose another name")


def stored_overrides(run_dir: Path, overrides: Sequence[str]) -> list[str]:
    """The overrides of a run that is resumed, less those that the command line gives anew.

    Raises:
        RunError: there is no run, another process is in it, or what it stores cannot be used.
    """
    path = run_dir / OVERRIDES
    if not path.is_file():
        raise RunError(f"resume: no run in {run_dir}, expected a directory with {OVERRIDES}{folder_of(run_dir)}")
    check_folder(run_dir, to_write=True)
    with RunLock(run_dir):  # held by another process, it is refused at once
        pass
    stored = recorded_overrides(run_dir)
    if odd := [o for o in stored if not _STORABLE.fullmatch(o)]:
        raise RunError(f"{path}: found {odd[0][:80]!r}, expected overrides of our own keys, without references")
    given = set(map(key_of, overrides))
    taken = [o for o in stored if key_of(o) not in given]
    if any(key_of(o) == _ADDRESS for o in taken) and "executor" not in given:
        raise RunError(f"{path}: found {_ADDRESS}; give it again: what a cluster sends is run, so no file chooses it")
    return [o for o in taken if key_of(o) != _ADDRESS]


def moved_runs_dir(run_dir: Path, verb: str) -> str | None:
    """The ``runs_dir`` that a run lies in now, if it is another one than it was made in.

    Static networks and caches lie there, too, so a run that has moved along with them finds them again.

    Args:
        run_dir: of the run.
        verb: that made it.

    Returns:
        None where the run lies where it did, or in no such folder.
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
    """Refuses to continue a run whose stored trials meant something else.

    Raises:
        ConfigError: with the keys that differ.
    """
    if not (run_dir / CONFIG).is_file():
        raise RunError(f"resume: no {CONFIG} in {run_dir}")
    if changes := _changes(run_dir, config, free_keys(schema, "when_resumed")):
        raise ConfigError(f"resume: the configuration changed its meaning: {changes}")


def _changes(run_dir: Path, config: DictConfig, harmless: Sequence[str]) -> str:
    stored = flat(recorded_config(run_dir))
    now = flat(OmegaConf.to_container(config, resolve=True))
    keys = [key for key in sorted(stored.keys() | now.keys()) if stored.get(key) != now.get(key)]
    differing = [key for key in keys if not is_among(key, harmless)]
    return "; ".join(f"{k} was {_shown(stored.get(k))}, is {_shown(now.get(k))}" for k in differing[:3])


def _shown(value: object) -> str:
    return str(value) if len(str(value)) <= _SHOWN else f"{str(value)[:_SHOWN]}..."
