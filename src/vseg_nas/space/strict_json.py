"""JSON from files that anybody may have written: bounded, strict, and every failure a `ValueError`."""

import json

MAX_CHARACTERS = 64 * 1024


def loads(text: str, most: int = MAX_CHARACTERS) -> object:
    """Parses ``text``.

    Args:
        text: of the file.
        most: characters that it may have.

    Raises:
        ValueError: it is longer, not JSON, nested too deeply, repeats a key, or holds NaN or infinity.
    """
    if len(text) > most:
        raise ValueError(f"JSON: found {len(text)} characters, expected at most {most}")
    try:
        data: object = json.loads(text, object_pairs_hook=_unique_keys, parse_constant=_refuse_constant)
    except json.JSONDecodeError as error:
        raise ValueError(f"not JSON: {error}") from error
    except RecursionError as error:
        raise ValueError("JSON: nested too deeply") from error
    return data


def _unique_keys(pairs: list[tuple[str, object]]) -> dict[str, object]:
    data = dict(pairs)
    if len(data) < len(pairs):
        raise ValueError("JSON: an object repeats a key")
    return data


def _refuse_constant(name: str) -> object:
    raise ValueError(f"JSON: found {name}, expected a finite number")
