"""A strict JSON parser for untrusted files: its input is bounded, and every failure is a `ValueError`."""

import json
import math
import re
from reprlib import repr as brief
from typing import Any

MAX_CHARACTERS = 64 * 1024
LARGEST = 2**63 - 1  # the largest integer that arrays and databases hold
_DIGITS = 20  # checked before int(), whose time is quadratic in the number of digits
_ODD = re.compile(r"\\u(?:[dD][89a-fA-F]|0000)")  # the escapes of NUL and of half a surrogate pair


def loads(text: str, most: int = MAX_CHARACTERS) -> object:
    """Parses JSON.

    Args:
        text: The content of the file.
        most: The largest number of characters that are accepted.

    Raises:
        ValueError: The text is longer, is not JSON, is nested too deeply, repeats a key, or holds NaN, infinity, an
            integer of more than 63 bits, or a string with NUL or half a surrogate pair. No file name or UTF-8 file can
            hold such a string.
    """
    if len(text) > most:
        raise ValueError(f"JSON: found {len(text)} characters, expected at most {most}")
    try:
        data: object = json.loads(
            text,
            object_pairs_hook=_unique_keys,
            parse_constant=_refuse_constant,
            parse_int=_whole,
            parse_float=_finite,
        )
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("JSON: nested too deeply") from error
    if _ODD.search(text):
        _refuse_odd_texts(data)
    return data


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    data = dict(pairs)
    if len(data) < len(pairs):
        raise ValueError("JSON: an object repeats a key")
    return data


def _refuse_constant(name: str) -> object:
    raise ValueError(f"JSON: found {name}, expected a finite number")


def _whole(digits: str) -> int:
    if len(digits) > _DIGITS or abs(int(digits)) > LARGEST:
        raise ValueError(f"JSON: found {brief(digits)}, expected a whole number of at most 63 bits")
    return int(digits)


def _finite(digits: str) -> float:
    value = float(digits)
    if not math.isfinite(value):
        raise ValueError(f"JSON: found {brief(digits)}, expected a finite number")
    return value


def _refuse_odd_texts(data: Any) -> None:
    waiting = [data]
    while waiting:
        node = waiting.pop()
        if isinstance(node, str):
            if not is_text(node):
                raise ValueError("JSON: found a text with NUL or half a surrogate pair, expected characters")
        elif isinstance(node, list):
            waiting += node
        elif isinstance(node, dict):
            waiting += [*node.keys(), *node.values()]


def is_text(text: str) -> bool:
    """Returns whether a string can be encoded in UTF-8 and has no NUL, so that it can also be a file name."""
    return "\0" not in text and not any("\ud800" <= character <= "\udfff" for character in text)
