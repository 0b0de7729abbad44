"""What a run directory holds of its command, read back as data that anybody may have written or a disk has damaged.

``config.yaml`` is the resolved configuration, ``overrides.json`` the command line that made it, and ``record.sha256``
their digests in the form of ``sha256sum``: one changed bit of a seed would otherwise be another search. A search from
Python has ``settings.json`` instead of the two.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from vseg_nas.errors import RunError
from vseg_nas.files import write_text

CONFIG = "config.yaml"
OVERRIDES = "overrides.json"
SETTINGS = "settings.json"
DIGESTS = "record.sha256"
_MAX_BYTES = 2**20


def write_record(run_dir: Path, config: str, overrides: Sequence[str]) -> None:
    """Stores a configuration, as YAML, and a command line.

    Raises:
        RunError: the folder cannot be written to.
    """
    _write(run_dir, {OVERRIDES: json.dumps(list(overrides)), CONFIG: config})


def write_settings(run_dir: Path, settings: Mapping[str, object]) -> None:
    """Stores what a search from Python depends on.

    Raises:
        RunError: the folder cannot be written to.
    """
    _write(run_dir, {SETTINGS: json.dumps(dict(settings), indent=1, allow_nan=False)})


def _write(run_dir: Path, texts: Mapping[str, str]) -> None:
    lines = [f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n" for name, text in texts.items()]
    write_text(run_dir / DIGESTS, "".join(lines))
    for name, text in texts.items():
        write_text(run_dir / name, text)  # the last one marks a run: it comes when all others are there


def recorded_config(run_dir: Path) -> dict[str, Any]:
    """The configuration: plain data, without aliases, which can stand for billions.

    Raises:
        RunError: there is none, or it is not that.
    """
    path = run_dir / CONFIG
    text = _read(path)
    try:
        if any(isinstance(token, yaml.AliasToken) for token in yaml.scan(text)):
            raise RunError(f"{path}: found an alias, expected YAML without")
        data = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError) as error:
        raise RunError(f"{path}: not readable as YAML ({' '.join(str(error).split())[:80]})") from error
    if not isinstance(data, dict):
        raise RunError(f"{path}: found {type(data).__name__}, expected a mapping")
    return data


def recorded_settings(run_dir: Path) -> dict[str, object]:
    """What `write_settings` stored.

    Raises:
        RunError: there is nothing, or it is not that.
    """
    settings = _json(run_dir / SETTINGS)
    if not isinstance(settings, dict):
        raise RunError(f"{run_dir / SETTINGS}: expected an object")
    return settings


def recorded_overrides(run_dir: Path) -> list[str]:
    """The command line.

    Raises:
        RunError: there is none, or it is no list of strings.
    """
    path = run_dir / OVERRIDES
    overrides = _json(path)
    if not isinstance(overrides, list) or not all(isinstance(override, str) for override in overrides):
        raise RunError(f"{path}: expected a list of strings")
    return overrides


def flat(node: object, prefix: str = "") -> dict[str, object]:
    """The leaves of nested mappings by dotted keys."""
    if not isinstance(node, dict):
        return {prefix: node}
    leaves = (flat(value, f"{prefix}.{key}" if prefix else str(key)) for key, value in node.items())
    return {key: value for leaf in leaves for key, value in leaf.items()}


def _json(path: Path) -> object:
    try:
        content: object = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: not readable as JSON ({str(error)[:80]})") from error
    return content


def _read(path: Path) -> str:
    content = _bytes(path)
    expected = [line.split() for line in _bytes(path.with_name(DIGESTS)).decode("ascii", "replace").splitlines()]
    if [hashlib.sha256(content).hexdigest(), path.name] not in expected:
        raise RunError(f"{path}: damaged or edited, its SHA-256 is not the one in {DIGESTS}")
    try:
        return content.decode()
    except UnicodeDecodeError as error:
        raise RunError(f"{path}: found no text, expected UTF-8") from error


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            content = file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise RunError(f"{path}: not readable ({error.strerror}), expected the record of a run") from error
    if len(content) > _MAX_BYTES:
        raise RunError(f"{path}: found more than {_MAX_BYTES} bytes, expected at most that")
    return content
