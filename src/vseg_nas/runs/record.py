"""What a run directory holds of its command, read back as data that anybody may have written or a disk has damaged.

``config.yaml`` is the resolved configuration, ``overrides.json`` the command line that made it, and ``record.sha256``
holds the digests of both in the form of ``sha256sum``: one changed bit of a seed would otherwise be another search. A
search from Python has ``settings.json`` instead of the two.
"""

import json
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from reprlib import repr as brief
from typing import Any

import yaml

from vseg_nas.errors import RunError
from vseg_nas.runs.digests import digest_lines, digest_of, parse_digest_lines
from vseg_nas.runs.files import read_regular, write_text
from vseg_nas.space import strict_json

CONFIG = "config.yaml"
OVERRIDES = "overrides.json"
SETTINGS = "settings.json"
DIGESTS = "record.sha256"
GENOTYPE_FILE = "genotype.json"
"""File of the run directory of a training: the cell that it trains."""
_MAX_BYTES = 2**16  # the longest of ours has 4 kB
_MOST_VALUES = 1000  # ours have 150
_MOST_NESTED = 16
_LONGEST = 4096  # characters of a text: as long as a path may be
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
    """Stores the configuration and the command line of a run.

    Args:
        run_dir: The run directory.
        config: The resolved configuration as YAML.
        overrides: The overrides of the command line.

    Raises:
        RunError: The folder cannot be written to.
    """
    _write(run_dir, {OVERRIDES: json.dumps(list(overrides)), CONFIG: config})


def write_settings(run_dir: Path, settings: Mapping[str, object]) -> None:
    """Stores the settings of a search from Python.

    Raises:
        RunError: The folder cannot be written to.
    """
    _write(run_dir, {SETTINGS: json.dumps(dict(settings), indent=1, allow_nan=False)})


def _write(run_dir: Path, texts: Mapping[str, str]) -> None:
    digests = {name: digest_of(text) for name, text in texts.items()}
    write_text(run_dir / DIGESTS, digest_lines(digests))
    for name, text in texts.items():
        write_text(run_dir / name, text)  # the last file marks a run, so it is written after all others


def recorded_config(run_dir: Path) -> dict[str, Any]:
    """Returns the configuration of a run: a mapping of a few plain values without references to other values.

    Raises:
        RunError: There is no configuration, or it is damaged or something else.
    """
    path = run_dir / CONFIG
    text = _read(path)
    try:
        _check_tokens(path, text)
        data = yaml.safe_load(text)
    except (yaml.YAMLError, ValueError) as error:  # ValueError: impossible numbers and dates
        raise RunError(f"{path}: not readable as YAML ({' '.join(str(error).split())[:80]})") from error
    if not isinstance(data, dict):
        raise RunError(f"{path}: found {type(data).__name__}, expected a mapping")
    if problem := _problem(data):
        raise RunError(f"{path}: found {problem}")
    return data


def recorded_settings(run_dir: Path) -> dict[str, object]:
    """Returns the settings that `write_settings` has stored.

    Raises:
        RunError: There are no settings, or they are damaged or something else.
    """
    settings = _json(run_dir / SETTINGS)
    if not isinstance(settings, dict):
        raise RunError(f"{run_dir / SETTINGS}: expected an object")
    return settings


def recorded_overrides(run_dir: Path) -> list[str]:
    """Returns the overrides of the command line of a run.

    Raises:
        RunError: There are no overrides, or they are damaged or not a list of strings.
    """
    path = run_dir / OVERRIDES
    overrides = _json(path)
    if not isinstance(overrides, list) or not all(isinstance(override, str) for override in overrides):
        raise RunError(f"{path}: expected a list of strings")
    if len(overrides) > _MOST_VALUES:
        raise RunError(f"{path}: found {len(overrides)} overrides, expected at most {_MOST_VALUES}")
    return overrides


def flat(node: object, prefix: str = "") -> dict[str, object]:
    """Returns the leaves of nested mappings by their dotted keys."""
    if not isinstance(node, dict):
        return {prefix: node}
    leaves = (flat(value, f"{prefix}.{key}" if prefix else str(key)) for key, value in node.items())
    return {key: value for leaf in leaves for key, value in leaf.items()}


def key_of(override: str) -> str:
    """Returns the key that an override of a command line sets, adds or removes."""
    return override.partition("=")[0].lstrip("+~")


def is_among(key: str, keys: Sequence[str]) -> bool:
    """Returns whether a dotted key is one of some keys, or lies below one of them."""
    return any(key == name or key.startswith(f"{name}.") for name in keys)


def _check_tokens(path: Path, text: str) -> None:
    """Refuses YAML with tags, aliases, great depth or many values, before anything is built from it.

    Tags make objects, a few aliases can stand for billions of values, and depth and number cost time.

    Raises:
        RunError: The text holds one of these.
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
    """Returns what is wrong with a value of a configuration, or with a value inside it; None if nothing is."""
    if isinstance(value, list):
        return next(filter(None, map(_problem, value)), None)
    if isinstance(value, dict):
        if odd := [key for key in value if not isinstance(key, str)]:
            return f"the key {brief(odd[0])}, expected a text"
        return next(filter(None, map(_problem, [*value, *value.values()])), None)
    if isinstance(value, str):
        if len(value) > _LONGEST or not strict_json.is_text(value):
            return f"{brief(value)}, expected a text of at most {_LONGEST} characters, without NUL"
        if "${" in value:  # OmegaConf takes this for a reference, wherever it stands
            return f"{brief(value)}, expected a value without references"
        return None
    if isinstance(value, int) and abs(value) > strict_json.LARGEST:
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
    digests = parse_digest_lines(_bytes(path.with_name(DIGESTS)).decode("ascii", "replace"))
    if digests.get(path.name) != digest_of(content):
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
