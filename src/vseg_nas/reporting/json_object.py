"""Strict reading of a JSON file that anybody may have written: every failure is one line with the file and the key."""

from pathlib import Path
from reprlib import repr as brief  # bounded: what was found may be anything
from typing import NoReturn

from vseg_nas.errors import DataError
from vseg_nas.files import read_regular
from vseg_nas.space import strict_json

MAX_BYTES = 16 * 2**20
LARGEST = 10**15  # of a whole number: a float still holds it exactly
MAX_TEXT = 10_000


class JsonObject:
    """One object of a file; a getter raises `DataError` unless its key holds what it promises. Other keys are ignored.

    Args:
        path: of the file.
        data: the parsed object.
        place: where in the file it stands, such as ``rows[0].pair``; empty for the whole.
    """

    def __init__(self, path: Path, data: object, place: str = "") -> None:
        self._path = path
        self._place = place
        if not isinstance(data, dict):
            self._fail(place or "the file", data, "an object")
        self._data: dict[str, object] = data

    @classmethod
    def read(cls, path: Path, format: str) -> "JsonObject":
        """Reads a file whose key ``format`` says what it is.

        Raises:
            DataError: the file is missing, over 16 MiB, not strict JSON, or of another format.
        """
        self = cls(path, _parsed(path))
        if self._data.get("format") != format:
            self._fail("format", self._data.get("format"), repr(format))
        return self

    def is_null(self, key: str) -> bool:
        """Whether the key holds null."""
        return self._value(key) is None

    def has(self, key: str) -> bool:
        """Whether there is such a key."""
        return key in self._data

    def text(self, key: str) -> str:
        """A string of at most 10,000 characters, `printable`."""
        value = self._value(key)
        return self._text(self._at(key), value)

    def boolean(self, key: str) -> bool:
        """True or false."""
        value = self._value(key)
        if not isinstance(value, bool):
            self._fail(self._at(key), value, "true or false")
        return value

    def integer(self, key: str, low: int = 0) -> int:
        """A whole number of at least `low`."""
        value = self._value(key)
        if type(value) is not int or not low <= value <= LARGEST:
            self._fail(self._at(key), value, f"a whole number of at least {low}")
        return value

    def number(self, key: str) -> float:
        """A finite number of at least 0."""
        return self._number(self._at(key), self._value(key))

    def fraction(self, key: str) -> float:
        """A number between 0 and 1, give or take rounding."""
        return self._fraction(self._at(key), self._value(key))

    def fractions(self, key: str) -> tuple[float | None, ...]:
        """A list of fractions and nulls."""
        values = enumerate(self._list(key))
        return tuple(None if v is None else self._fraction(f"{self._at(key)}[{i}]", v) for i, v in values)

    def integers(self, key: str, length: int) -> tuple[int, ...]:
        """A list of `length` whole numbers of at least 1."""
        values = self._list(key)
        if len(values) != length or not all(type(v) is int and 1 <= v <= LARGEST for v in values):
            self._fail(self._at(key), values, f"{length} whole numbers of at least 1")
        return tuple(v for v in values if isinstance(v, int))

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of strings."""
        return tuple(self._text(f"{self._at(key)}[{i}]", value) for i, value in enumerate(self._list(key)))

    def child(self, key: str) -> "JsonObject":
        """An object."""
        return JsonObject(self._path, self._value(key), self._at(key))

    def children(self, key: str) -> list["JsonObject"]:
        """A list of objects."""
        return [JsonObject(self._path, v, f"{self._at(key)}[{i}]") for i, v in enumerate(self._list(key))]

    def mapping(self, key: str) -> dict[str, "JsonObject"]:
        """An object of objects."""
        parent = self.child(key)
        return {name: parent.child(name) for name in parent._data}

    def plain(self, key: str) -> object:
        """Whatever the key holds."""
        return self._value(key)

    def fail(self, key: str, reason: str) -> NoReturn:
        """Refuses what the key holds.

        Raises:
            DataError: always.
        """
        raise DataError(f"{self._path}: {self._at(key)}: {reason}")

    def _at(self, key: str) -> str:
        return f"{self._place}.{key}" if self._place else key

    def _value(self, key: str) -> object:
        if key not in self._data:
            raise DataError(f"{self._path}: {self._at(key)}: found no such key, expected it")
        return self._data[key]

    def _list(self, key: str) -> list[object]:
        value = self._value(key)
        if not isinstance(value, list):
            self._fail(self._at(key), value, "a list")
        return value

    def _text(self, place: str, value: object) -> str:
        if not isinstance(value, str) or len(value) > MAX_TEXT:
            self._fail(place, value, f"a string of at most {MAX_TEXT} characters")
        return value

    def _number(self, place: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LARGEST:
            self._fail(place, value, "a number of at least 0")
        return float(value)

    def _fraction(self, place: str, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not -1e-9 <= value <= 1 + 1e-9:
            self._fail(place, value, "a fraction between 0 and 1")
        return float(value)

    def _fail(self, place: str, found: object, expected: str) -> NoReturn:
        raise DataError(f"{self._path}: {place}: found {brief(found)}, expected {expected}")


def _parsed(path: Path) -> object:
    try:
        return strict_json.loads(read_regular(path, MAX_BYTES).decode(), MAX_BYTES)
    except OSError as error:
        raise DataError(f"{path}: not readable ({error.strerror})") from error
    except ValueError as error:  # also: not UTF-8, not JSON
        raise DataError(f"{path}: found no readable JSON ({str(error)[:120]}), expected a result file") from error
