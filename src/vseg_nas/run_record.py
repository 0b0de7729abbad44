"""What a run directory holds of its command, read back as data that anybody may have written or a disk has damaged.

``config.yaml`` is the resolved configuration, ``overrides.json`` the command line that made it, and ``record.sha256``
their digests in the form of ``sha256sum``: one changed bit of a seed would otherwise be another search.
"""

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import yaml

from vseg_nas.errors import RunError
from vseg_nas.files import write_text

CONFIG = "config.yaml"
OVERRIDES = "overrides.json"
DIGESTS = "record.sha256"
EXECUTION_KEYS = (
    *("debug", "executor", "gpu.accelerator", "gpu.devices", "gpu.name", "gpu.workers", "logger", "name"),
    *("phase.search.hours", "phase.search.trials", "resume", "runs_dir"),
)
"""Keys, and groups of keys, that say how a run is executed: where, for how long, under which name. They do not change
what its trials mean, so a resumed run may differ in them, and so may searches that are averaged."""
_MAX_BYTES = 2**20


def write_record(run_dir: Path, config: str, overrides: Sequence[str]) -> None:
    """Stores a configuration, as YAML, and a command line.

    Raises:
        RunError: the folder cannot be written to.
    """
    texts = {OVERRIDES: json.dumps(list(overrides)), CONFIG: config}
    lines = [f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n" for name, text in texts.items()]
    write_text(run_dir / DIGESTS, "".join(lines))
    for name, text in texts.items():
        write_text(run_dir / name, text)  # the configuration last: it marks a run


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


def recorded_overrides(run_dir: Path) -> list[str]:
    """The command line.

    Raises:
        RunError: there is none, or it is no list of strings.
    """
    path = run_dir / OVERRIDES
    try:
        overrides = json.loads(_read(path))
    except (ValueError, RecursionError) as error:
        raise RunError(f"{path}: not readable as JSON ({str(error)[:80]})") from error
    if not isinstance(overrides, list) or not all(isinstance(override, str) for override in overrides):
        raise RunError(f"{path}: expected a list of strings")
    return overrides


def flat(node: object, prefix: str = "") -> dict[str, object]:
    """The leaves of nested mappings by dotted keys."""
    if not isinstance(node, dict):
        return {prefix: node}
    leaves = (flat(value, f"{prefix}.{key}" if prefix else str(key)) for key, value in node.items())
    return {key: value for leaf in leaves for key, value in leaf.items()}


def is_among(key: str, keys: Sequence[str]) -> bool:
    """Whether a dotted key is one of these, or below one of them."""
    return any(key == name or key.startswith(f"{name}.") for name in keys)


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
