"""What a run directory holds of its command, read back as data that anybody may have written or a disk has damaged.

``config.yaml`` is the resolved configuration, ``overrides.json`` the command line that made it, and ``record.sha256``
their digests in the form of ``sha256sum``: one changed bit of a seed would otherwise be another search. A search from
Python has ``settings.json`` instead of the two.
"""

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from reprlib import repr as brief
from typing import Any

import yaml

from vseg_nas.errors import RunError
from vseg_nas.files import read_regular, write_text
from vseg_nas.space import strict_json

CONFIG = "config.yaml"
OVERRIDES = "overrides.json"
SETTINGS = "settings.json"
DIGESTS = "record.sha256"
_MAX_BYTES = 2**16  # the longest of ours has 4 kB
_MOST_VALUES = 1000  # ours have 150
_MOST_NESTED = 16
_LONGEST = 4096  # characters of a text: as long as a path may be
_LARGEST = 2**63 - 1
_PLAIN = (
    *(yaml.StreamStartToken, yaml.StreamEndToken, yaml.DocumentStartToken, yaml.DocumentEndToken),
    *(yaml.BlockSequenceStartToken, yaml.BlockMappingStartToken, yaml.BlockEndToken, yaml.BlockEntryToken),
    *(yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken, yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken),
    *(yaml.FlowEntryToken, yaml.KeyToken, yaml.ValueToken, yaml.ScalarToken),
)
_OPENS = (
    *(yaml.BlockSequenceStartToken, yaml.BlockMappingStartToken),
    *(yaml.FlowSequenceStartToken, yaml.FlowMappingStartToken),
)
_CLOSES = (yaml.BlockEndToken, yaml.FlowSequenceEndToken, yaml.FlowMappingEndToken)


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
    """The configuration: a mapping of few plain values, none of which refers to something else.

    Raises:
        RunError: there is none, or it is not that.
    """
    path = run_dir / CONFIG
    text = _read(path)
    try:
        _check_tokens(path, text)
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: of numbers and dates that are none
        raise RunError(f"{path}: not readable as YAML ({' '.join(str(error).split())[:80]})") from error
    if not isinstance(data, dict):
        raise RunError(f"{path}: found {type(data).__name__}, expected a mapping")
    if problem := _problem(data):
        raise RunError(f"{path}: found {problem}")
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
    if len(overrides) > _MOST_VALUES:
        raise RunError(f"{path}: found {len(overrides)} overrides, expected at most {_MOST_VALUES}")
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


def _check_tokens(path: Path, text: str) -> None:
    """Before anything is built: tags make objects, aliases stand for billions, depth and number cost time.

    Raises:
        RunError: with what does not belong.
    """
    depth = values = 0
    for token in yaml.scan(text):
        if not isinstance(token, _PLAIN):
            kind = type(token).__name__.removesuffix("Token").lower()
            raise RunError(f"{path}: found {kind}, expected plain YAML, without anchors, aliases and tags")
        depth += isinstance(token, _OPENS) - isinstance(token, _CLOSES)
        values += isinstance(token, yaml.ScalarToken | yaml.BlockEntryToken | yaml.FlowEntryToken)
        if depth > _MOST_NESTED:
            raise RunError(f"{path}: found more than {_MOST_NESTED} levels, expected at most that")
        if values > 2 * _MOST_VALUES:
            raise RunError(f"{path}: found more than {_MOST_VALUES} values, expected at most that")


def _problem(value: object) -> str | None:
    """What is wrong with a value of a configuration, or with one inside it."""
    if isinstance(value, list):
        return next(filter(None, map(_problem, value)), None)
    if isinstance(value, dict):
        if odd := [key for key in value if not isinstance(key, str)]:
            return f"the key {brief(odd[0])}, expected a text"
        return next(filter(None, map(_problem, [*value, *value.values()])), None)
    if isinstance(value, str):
        if len(value) > _LONGEST or not strict_json.is_text(value):
            return f"{brief(value)}, expected a text of at most {_LONGEST} characters, without NUL"
        if "${" in value:  # what OmegaConf takes for a reference, wherever it stands
            return f"{brief(value)}, expected a value without references"
        return None
    if isinstance(value, int) and abs(value) > _LARGEST:
        return f"a whole number of {value.bit_length()} bits, expected at most 63"
    if value is None or isinstance(value, int) or (isinstance(value, float) and math.isfinite(value)):
        return None
    return f"{brief(value)}, expected a text, a number, true, false or null"


def _json(path: Path) -> object:
    try:
        content: object = strict_json.loads(_read(path), _MAX_BYTES)
    except ValueError as error:
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
        return read_regular(path, _MAX_BYTES)
    except OSError as error:
        raise RunError(f"{path}: not readable ({error.strerror}), expected the record of a run") from error
