"""The base classes of all results, the types of their fields, and reading and writing of result files.

A file may come from anybody. It has to be bounded, strict JSON; an error in it is one line with the file and the key.
"""

import datetime
import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from reprlib import repr as brief  # bounded: what was found may be anything
from typing import Annotated, Any, ClassVar, Generic, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError
from pydantic_core import ErrorDetails

from vseg_nas.errors import DataError
from vseg_nas.runs.files import printable, read_regular, write_json
from vseg_nas.space import strict_json
from vseg_nas.validators import expected

MAX_BYTES = 16 * 2**20
"""The largest size of a result file that is read."""

_LARGEST = 10**15  # a float still holds a whole number of this size exactly
_MAX_TEXT = 10_000  # characters
_MAX_COMMAND = 2**21  # the longest command line that Linux accepts, in bytes
_SHOWN_KEY = 40  # characters of a key in an error
_TAG = "<"  # a part of an error's location that begins with this is no key, but names one of two models

_EXPECTED = {
    "tuple_type": "a list",
    "dict_type": "an object",
    "model_type": "an object",
    "union_tag_not_found": "an object",
}
"""The words of our messages for types of pydantic's errors."""


def _printable(value: Any) -> Any:
    """Escapes stray bytes of file names, which texts that we write may hold; texts that are read have none."""
    return printable(value) if isinstance(value, str) else value


Text = Annotated[
    str,
    Field(max_length=_MAX_TEXT),
    BeforeValidator(_printable),
    expected(f"a string of at most {_MAX_TEXT} characters"),
]
"""A name, a path or a sentence, in which what UTF-8 cannot hold is escaped."""
CommandLine = Annotated[
    str, Field(max_length=_MAX_COMMAND), BeforeValidator(_printable), expected("the command that made the file")
]
"""A command in the form in which it is typed."""
Flag = Annotated[bool, expected("true or false")]
Count = Annotated[int, Field(ge=0, le=_LARGEST), expected("a whole number of at least 0")]
Seed = Annotated[int, Field(ge=0, lt=2**63), expected("a whole number of at least 0")]
Positive = Annotated[int, Field(ge=1, le=_LARGEST), expected("a whole number of at least 1")]
Amount = Annotated[float, Field(ge=0, le=_LARGEST), expected("a number of at least 0")]
"""A number of seconds, milliseconds or MiB."""
Fraction = Annotated[float, Field(ge=-1e-9, le=1 + 1e-9), expected("a fraction between 0 and 1")]
"""A score, with a tolerance for rounding."""
ReferenceFraction = Annotated[float, Field(ge=-1e-9, le=2 + 1e-9), expected("a number between 0 and 2")]
"""A score that exceeds 1 in the reference form, in which an absent class counts 2."""
Size = Annotated[tuple[Positive, Positive], Field(strict=False), expected("2 whole numbers of at least 1")]
"""Height and width in pixels. It is not strict, because a validator in Python gets the list of the JSON file."""


class Record(BaseModel):
    """An object of a result file: immutable, without conversions of types and without unknown keys."""

    # An alias is the key of a field in files; in Python a field has its own name.
    model_config = ConfigDict(strict=True, frozen=True, extra="forbid", allow_inf_nan=False, populate_by_name=True)

    def to_json(self) -> dict[str, Any]:
        """Returns the object as it stands in a file."""
        return self.model_dump(mode="json", by_alias=True)


class Result(Record):
    """A whole result file. Its field ``format``, whose only value is its default, says which kind of file it is.

    Attributes:
        FILE: Name of the file in the directory of a run.
        command: Command that made the file.
        date: Day on which it was made, YYYY-MM-DD in UTC.
    """

    FILE: ClassVar[str]

    command: CommandLine
    date: Text

    @classmethod
    def format_name(cls) -> str:
        """Returns the value of the key ``format`` in files of this kind."""
        return str(cls.model_fields["format"].default)


AnyRecord = TypeVar("AnyRecord", bound=Record)
AnyResult = TypeVar("AnyResult", bound=Result)


@dataclass(frozen=True)
class ResultRun(Generic[AnyResult]):
    """A run with results, for a report.

    Attributes:
        name: Short name, different for all runs of a report.
        path: Directory of the run.
        results: The results that the run left.
    """

    name: str
    path: Path
    results: AnyResult


def read_result(path: Path, model: type[AnyRecord]) -> AnyRecord:
    """Reads a result file.

    Raises:
        DataError: The file is missing, larger than `MAX_BYTES`, not strict JSON, or not what the model describes. The
            message names the file and the key, what was found and what was expected.
    """
    try:
        text = read_regular(path, MAX_BYTES).decode()
        data = strict_json.loads(text, MAX_BYTES)
    except OSError as error:
        raise DataError(f"{path}: not readable ({error.strerror})") from error
    except ValueError as error:  # also: not UTF-8, not JSON
        raise DataError(f"{path}: found no readable JSON ({str(error)[:120]}), expected a result file") from error
    if issubclass(model, Result):
        found = data.get("format") if isinstance(data, dict) else data
        if found != model.format_name():
            raise DataError(f"{path}: format: found {brief(found)}, expected {model.format_name()!r}")
    try:
        return model.model_validate_json(text)  # in its mode for JSON, lists are tuples
    except ValidationError as error:
        raise DataError(f"{path}: {_message(error.errors(include_url=False)[0])}") from error


def write_result(run_dir: Path, result: Result) -> Path:
    """Writes a result file into a run directory, whole or not at all.

    Returns:
        The file.
    """
    return write_json(run_dir / result.FILE, result.to_json())


def command_line(verb: str) -> str:
    """Returns the command of this process in the form in which it is typed."""
    return shlex.join(["python", "-m", f"vseg_nas.{verb}", *sys.argv[1:]])


def today() -> str:
    """Returns the date, YYYY-MM-DD in UTC."""
    return datetime.datetime.now(datetime.UTC).date().isoformat()


def _message(error: ErrorDetails) -> str:
    """Returns the key of an error, what was found there and what was expected."""
    parts = [part for part in error["loc"] if not str(part).startswith(_TAG)]
    what = ""
    if parts[-1:] == ["[key]"]:  # the key itself is wrong
        parts, what = parts[:-2], "the key "
    key = "".join(f"[{part}]" if isinstance(part, int) else f".{part[:_SHOWN_KEY]}" for part in parts).removeprefix(".")
    match error["type"]:
        case "missing":
            said = "found no such key, expected it"
        case "extra_forbidden":
            said = "found an unknown key, expected none but those of this format"
        case "refused":
            said = error["msg"]
        case "value_error":
            said = str(error["ctx"]["error"])
        case kind:
            said = f"found {what}{brief(error['input'])}, expected {_EXPECTED.get(kind, error['msg'])}"
    return f"{key}: {said}" if key else said
