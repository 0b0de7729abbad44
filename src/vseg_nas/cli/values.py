"""Quotes the values of a command line, so that Hydra's grammar takes them as they are written.

Hydra reads ``name=2011_09_26`` as a number and refuses ``source=drive (1).mp4``. Values of the keys that
`text_keys` of the schema names are therefore quoted before Hydra sees them. Three things keep Hydra's meaning:
``null``, a value that is quoted already (``name='"a b"'`` in a shell), and ``[A,B]`` for a key that takes a list. With
``--multirun``, a comma separates the values of jobs. A leading ``~/`` is the home folder, which few shells expand
after ``key=``.
"""

import os
import re
import shlex
from collections.abc import Iterable, Mapping, Sequence

from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override, Quote, QuotedString
from hydra.errors import HydraException

from vseg_nas.errors import ConfigError

_REFERENCE = re.compile(r"\$\\*\{")
"""An interpolation, or what becomes one when Hydra removes escapes. Such values are not quoted, so they are refused."""
_QUOTED = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_ITEM = re.compile(rf"\s*({_QUOTED})\s*(?:,|$)|([^,]*)(?:,|$)", re.DOTALL)
_ITEM_OR_LIST = re.compile(rf"\s*(\[[^\[\]]*\]|{_QUOTED})\s*(?:,|$)|([^,]*)(?:,|$)", re.DOTALL)


def as_written(override: str, keys: Mapping[str, bool], multirun: bool) -> str:
    """Returns an override whose value Hydra reads as it is written.

    Args:
        override: An override of the command line, quoted for Hydra or not.
        keys: The keys that take text, see `vseg_nas.settings.text_keys`.
        multirun: Whether commas separate the values of jobs.

    Raises:
        ConfigError: The override holds bytes that are not UTF-8.
    """
    key, sign, value = override.partition("=")
    if any("\ud800" <= character <= "\udfff" for character in override):
        raise ConfigError(f"{key}: found {override[len(key) + 1 :]!r}, which is no UTF-8, expected text")
    takes_list = keys.get(key.lstrip("+"))
    if takes_list is None or not sign or _REFERENCE.search(value) or (multirun and _is_function(override)):
        return override
    if not multirun:
        return f"{key}={_value(value, takes_list)}"
    items = _split(value, _ITEM_OR_LIST if takes_list else _ITEM)
    return f"{key}={','.join(_value(item, takes_list) for item in items)}"


def assignment(key: str, value: object) -> str:
    """Returns ``key=value`` for a printed command, quoted for the shell, and for Hydra if needed.

    Args:
        key: A key that takes text.
        value: The value that the command shall have.
    """
    text = str(value)
    special = text == "null" or text.startswith(("[", "~", "'", '"'))
    return shlex.quote(quoted(key, text) if special else f"{key}={text}")


def list_hint(key: str, text: str) -> str:
    """Returns a hint for an error about a missing path whose commas suggest that several paths were meant.

    Args:
        key: A key that takes a list.
        text: The path.
    """
    return f"; several are given as {shlex.quote(f'{key}=[{text}]')}" if "," in text else ""


def quoted(key: str, text: str) -> str:
    """Returns ``key=text`` in the form that Hydra reads as exactly that text."""
    return f"{key}={_quoted(text)}"


def text_of(key: str, overrides: Sequence[str]) -> str | None:
    """Returns the text that the last of some overrides gives to a key; None if that is not set, null or empty.

    Raises:
        ConfigError: The override gives several values.
    """
    given = [override for override in overrides if override.lstrip("+").startswith(f"{key}=")]
    parsed = _parsed(given[-1]) if given else None
    if parsed is None:
        return None
    if parsed.is_sweep_override():
        raise ConfigError(f"{key}: found several values, expected one")
    value = parsed.value()
    return value if isinstance(value, str) and value else None


def shown(overrides: Iterable[str], keys: Mapping[str, bool]) -> str:
    """Returns overrides of this command line as a person would type them in a shell."""
    return " ".join(shlex.quote(_unquoted(override, keys)) for override in overrides)


def _unquoted(override: str, keys: Mapping[str, bool]) -> str:
    """Removes quotes of Hydra's grammar that `as_written` would add again."""
    key = override.partition("=")[0]
    if key.lstrip("+") in keys and re.search(rf"=(?:{_QUOTED})\Z", override, re.DOTALL):
        plain = f"{key}={text_of(key.lstrip('+'), [override]) or ''}"
        if as_written(plain, keys, multirun=False) == override:
            return plain
    return override


def _value(written: str, takes_list: bool) -> str:
    if takes_list and re.fullmatch(r"\[.*\]", written, re.DOTALL):
        items = _split(written[1:-1], _ITEM)
        return f"[{','.join(map(_text, items))}]" if all(items) else written
    return _text(written)


def _text(written: str) -> str:
    if written in ("", "null") or re.fullmatch(_QUOTED, written, re.DOTALL):
        return written
    text = os.path.expanduser(written) if written == "~" or written.startswith("~/") else written
    parsed = _parsed(f"key={text}")
    plain = parsed is not None and not parsed.is_sweep_override() and parsed.value() == text
    return text if plain else _quoted(text)


def _quoted(text: str) -> str:
    return QuotedString(text, Quote.double).with_quotes()


def _split(value: str, item: re.Pattern[str]) -> list[str]:
    """Splits a value at the commas outside quotes, and outside brackets if items may be lists."""
    found: list[str] = []
    start, more = 0, True
    while more:
        match = item.match(value, start)
        assert match is not None, "the second alternative matches anything"
        found.append((match[1] or match[2] or "").strip())
        start, more = match.end(), match[0].endswith(",")
    return found


def _is_function(override: str) -> bool:
    """Returns whether the value is one of Hydra's sweep functions: ``choice(...)``, ``range(...)``, ``glob(...)``."""
    parsed = _parsed(override)
    if parsed is None or not parsed.is_sweep_override():
        return False
    sweep = parsed.value()
    return not (isinstance(sweep, ChoiceSweep) and sweep.simple_form)


def _parsed(override: str) -> Override | None:
    try:
        return OverridesParser.create().parse_override(override)
    except HydraException:
        return None
