"""How the record of a run is used: to go on, to refuse what changed its meaning, to leave nothing of a false start."""

import re
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from omegaconf import DictConfig, OmegaConf

from vseg_nas.checking import GENOTYPE_NOTE, WEIGHTS_NOTE, C, check
from vseg_nas.errors import ConfigError, RunError
from vseg_nas.nas.lock import RunLock
from vseg_nas.run_record import CONFIG, DIGESTS, OVERRIDES, flat, recorded_config, recorded_overrides

_HARMLESS_ON_RESUME = (
    "resume",
    "debug",
    "runs_dir",
    "name",
    "gpu.name",
    "gpu.accelerator",
    "gpu.devices",
    "gpu.workers",
    "executor",
    "logger",
    "phase.search.trials",
    "phase.search.hours",
    "cell",
)
_BOOKKEEPING = {CONFIG, OVERRIDES, DIGESTS, "lock", "log", GENOTYPE_NOTE, WEIGHTS_NOTE}
_STORABLE = re.compile(r"(?!-|[+~]*hydra\b)[^$]*", re.DOTALL)
"""Overrides that a run directory, which may be anybody's, may bring along: none of Hydra's own, no interpolation."""


def stored_config(run_dir: Path, schema: type[C]) -> C:
    """The configuration of a run.

    Raises:
        RunError: the directory holds no run, or one of another kind.
    """
    if not (run_dir / CONFIG).is_file():
        raise RunError(f"{run_dir}: holds no run, expected {CONFIG} in it")
    try:
        return check(OmegaConf.create(recorded_config(run_dir)), schema)
    except ConfigError as error:
        raise RunError(f"{run_dir / CONFIG}: {error}") from error


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


def stored_overrides(overrides: Sequence[str]) -> list[str]:
    """The overrides of the run that ``resume=`` names, less those that the command line gives anew."""
    named = [o.partition("=")[2] for o in overrides if o.startswith("resume=")]
    if not named or named[-1] in ("", "null"):
        return []
    run_dir = Path(named[-1])
    path = run_dir / OVERRIDES
    if not path.is_file():
        raise RunError(f"resume: no run in {run_dir}, expected a directory with {OVERRIDES}")
    with RunLock(run_dir):  # held by another process, it is refused at once
        pass
    stored = recorded_overrides(run_dir)
    if odd := [o for o in stored if not _STORABLE.fullmatch(o)]:
        raise RunError(f"{path}: found {odd[0][:80]!r}, expected overrides of our own keys, without references")
    given = {o.partition("=")[0] for o in overrides}
    return [o for o in stored if o.partition("=")[0] not in given]


def check_same_meaning(run_dir: Path, config: DictConfig) -> None:
    """Refuses to continue a run whose stored trials meant something else.

    Raises:
        ConfigError: with the keys that differ.
    """
    if not (run_dir / CONFIG).is_file():
        raise RunError(f"resume: no {CONFIG} in {run_dir}")
    stored = flat(recorded_config(run_dir))
    now = flat(OmegaConf.to_container(config, resolve=True))
    differing = [k for k in sorted(stored.keys() | now.keys()) if stored.get(k) != now.get(k) and not _harmless(k)]
    if differing:
        changes = "; ".join(f"{k} was {stored.get(k)}, is {now.get(k)}" for k in differing[:3])
        raise ConfigError(f"resume: the configuration changed its meaning: {changes}")


def _harmless(key: str) -> bool:
    return any(key == k or key.startswith(k + ".") for k in _HARMLESS_ON_RESUME)
