"""What a run directory remembers of its command: written once, read back as data that anybody may have written."""

import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml
from omegaconf import DictConfig, OmegaConf

from vseg_nas.checking import GENOTYPE_NOTE, WEIGHTS_NOTE, C, check
from vseg_nas.errors import ConfigError, RunError
from vseg_nas.files import write_text
from vseg_nas.nas.lock import RunLock

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
_MAX_YAML = 2**20
_BOOKKEEPING = {"config.yaml", "overrides.json", "lock", "log", GENOTYPE_NOTE, WEIGHTS_NOTE}
_STORABLE = re.compile(r"(?!-|[+~]*hydra\b)[^$]*", re.DOTALL)
"""Overrides that a run directory, which may be anybody's, may bring along: none of Hydra's own, no interpolation."""


def stored_config(run_dir: Path, schema: type[C]) -> C:
    """The configuration of a run.

    Raises:
        RunError: the directory holds no run.
        ConfigError: the stored configuration is not one of this kind.
    """
    path = run_dir / "config.yaml"
    if not path.is_file():
        raise RunError(f"{run_dir}: holds no run, expected config.yaml in it")
    return check(OmegaConf.create(_read_mapping(path)), schema)


def _read_mapping(path: Path) -> dict[str, Any]:
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


def forget_empty(run_dir: Path) -> None:
    """Removes a run that ended before it had anything to keep, so that the mended command can use its name."""
    found = {path.name for path in run_dir.iterdir()}
    if found <= _BOOKKEEPING:
        for name in found:
            (run_dir / name).unlink()
        run_dir.rmdir()


def record(run_dir: Path, config: DictConfig, overrides: Iterable[str]) -> None:
    """Stores what `resume` needs: the resolved configuration and the command line that made it."""
    write_text(run_dir / "overrides.json", json.dumps(list(overrides)))
    write_text(run_dir / "config.yaml", OmegaConf.to_yaml(config, resolve=True))  # last: it marks a run


def stored_overrides(overrides: Sequence[str]) -> list[str]:
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


def check_same_meaning(run_dir: Path, config: DictConfig) -> None:
    """Refuses to continue a run whose stored trials meant something else.

    Raises:
        ConfigError: with the keys that differ.
    """
    path = run_dir / "config.yaml"
    if not path.is_file():
        raise RunError(f"resume: no config.yaml in {run_dir}")
    stored = _flat(_read_mapping(path))
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
