"""The base of all settings, the types of their fields, and what is wrong with a value, in one line.

Every part of the package declares its settings beside itself, as one immutable model with ranges. The part takes that
model itself, and the commands compose the models of all parts (`vseg_nas.schema`).
"""

import difflib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from reprlib import repr as brief  # bounded: what was found may be anything
from types import NoneType, UnionType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from vseg_nas.errors import ConfigError
from vseg_nas.space.strict_json import is_text
from vseg_nas.validators import refused, unexpected

_LONGEST_PATH, _LONGEST_NAME = 4096, 255  # characters; bytes of a name in a folder
_LONGEST_FOLDER = 128  # bytes; W&B takes no longer name of a run


@dataclass(frozen=True)
class MayDiffer:
    """Marks a key in which runs may differ although their results mean the same.

    Attributes:
        when_resumed: Whether a resumed run may differ in it from its earlier starts.
        when_averaged: Whether searches that a report averages over may differ in it.
        when_replaced: Whether a run that cannot be resumed and has not finished may be replaced by one that differs in
            it.
    """

    when_resumed: bool = False
    when_averaged: bool = False
    when_replaced: bool = False


COSMETIC = MayDiffer(when_resumed=True, when_averaged=True, when_replaced=True)
"""Marks a key that nothing is computed from: where a run lies, what it is called, how errors are shown."""
EXECUTION = MayDiffer(when_resumed=True, when_averaged=True)
"""Marks a key that says how a run is executed: on which devices, for how long."""
INPUT = MayDiffer(when_resumed=True)
"""Marks a key that names what a run reads. The content decides; the run directory holds its digests."""
AVERAGED_OVER = MayDiffer(when_averaged=True)
"""Marks a key in which searches that are averaged may differ, but a resumed run may not: the seed, the precision, and
what belongs to other commands."""


class _Later:
    """Marks a key that configurations of older runs lack; its default is what those runs did."""


LATER = _Later()


class Settings(BaseModel):
    """The settings of a part: immutable, without conversions of types and without keys that nobody knows.

    Raises:
        ConfigError: On construction, in one line, if a value cannot be used.
    """

    model_config = ConfigDict(
        strict=True, frozen=True, extra="forbid", allow_inf_nan=False, revalidate_instances="always"
    )

    if not TYPE_CHECKING:  # mypy derives the constructor from the fields

        def __init__(self, /, **values: Any) -> None:
            try:
                super().__init__(**values)
            except ValidationError as error:
                raise ConfigError(_first_error(error, type(self), null="None")) from error

        __init__.__pydantic_base_init__ = True  # so that pydantic does not call it for groups inside other groups


AnySettings = TypeVar("AnySettings", bound=Settings)


def validated(schema: type[AnySettings], data: object, key: str = "", null: str = "null") -> AnySettings:
    """Returns the settings that plain data or another instance describe.

    Args:
        schema: The model of the settings.
        data: A mapping, as YAML or JSON hold it, or an instance, which is checked again.
        key: The key or argument under which the data stand; empty for a whole configuration.
        null: The word for None in an error.

    Raises:
        ConfigError: A key is unknown or missing, or a value has the wrong type or is out of range.
    """
    try:
        return schema.model_validate(data)
    except ValidationError as error:
        raise ConfigError(_first_error(error, schema, key, null)) from error


def checked(kind: Any, value: object, key: str) -> Any:
    """Returns an argument from Python that has to be of a type, such as `Seed`.

    Raises:
        ConfigError: It has another type or is out of range.
    """
    try:
        return TypeAdapter(kind, config=ConfigDict(strict=True, allow_inf_nan=False)).validate_python(value)
    except ValidationError as error:
        raise ConfigError(_first_error(error, Settings, key, null="None")) from error


def check_complete(settings: Settings, key: str = "") -> None:
    """Checks that a configuration says everything: defaults are for callers from Python.

    Raises:
        ConfigError: A key is missing that configurations have always had.
    """
    for name, field in type(settings).model_fields.items():
        child, value = f"{key}.{name}" if key else name, getattr(settings, name)
        if name not in settings.model_fields_set and LATER not in field.metadata:
            raise ConfigError(f"{child}: not set, expected a value")
        if isinstance(value, Settings):
            check_complete(value, child)


# The types of fields.


def check_text(text: str) -> str:
    """Returns a text that could be a path; most are, and the others are shorter.

    A shell variable that is not set leaves nothing. That is a mistake and never the same as null.

    Raises:
        PydanticCustomError: It is empty, too long, or holds characters that no path has.
    """
    if not text.strip():
        raise refused("found an empty value, expected one that is not; what may be left out is null")
    longest = max(len(part.encode(errors="replace")) for part in text.split("/"))
    if not is_text(text) or len(text) > _LONGEST_PATH or longest > _LONGEST_NAME:
        raise unexpected(
            f"characters without NUL, at most {_LONGEST_PATH}, and at most {_LONGEST_NAME} from one slash to the next"
        )
    return text


def _check_folder_name(name: str) -> str:
    allowed = name.isprintable() and name == name.strip() and "/" not in name and name not in (".", "..")
    if not allowed or len(name.encode()) > _LONGEST_FOLDER:
        raise unexpected(
            f"the name of a folder: 1 to {_LONGEST_FOLDER} printable characters, no slash, not '.' or '..'"
        )
    return name


def _as_paths(value: object) -> tuple[str, ...]:
    paths = (value,) if isinstance(value, str) else value
    if not isinstance(paths, list | tuple) or not paths or not all(isinstance(path, str) for path in paths):
        raise unexpected("a path or a list of paths")
    return tuple(check_text(path) for path in paths)


def _check_ascending(pair: tuple[float, float]) -> tuple[float, float]:
    if pair[0] > pair[1]:
        raise unexpected("low <= high")
    return pair


Seed = Annotated[int, Field(ge=0, le=2**63 - 1)]
Count = Annotated[int, Field(ge=0)]
Positive = Annotated[int, Field(ge=1)]
Amount = Annotated[float, Field(ge=0)]
PositiveNumber = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(ge=0, le=1)]
Side = Annotated[int, Field(ge=32)]
Size = Annotated[tuple[Side, Side], Field(strict=False)]
"""Height and width in pixels; not strict, as YAML has lists and no tuples."""
Range = Annotated[tuple[PositiveNumber, PositiveNumber], Field(strict=False), AfterValidator(_check_ascending)]
"""The lowest and the highest value of a positive number."""
Text = Annotated[str, AfterValidator(check_text)]
"""A path or a name; on a command line it means what is written there."""
FolderName = Annotated[str, AfterValidator(check_text), AfterValidator(_check_folder_name)]
"""What a folder is called, such as the name of a run: one part of a path."""
Paths = Annotated[tuple[str, ...], BeforeValidator(_as_paths)]
"""At least one path; a single one may be given as a string."""


# What the models know of the keys of a configuration.


def keys(schema: type[Settings], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yields every key that a configuration may have, dotted, with its field; a group comes before the keys in it."""
    for name, field in schema.model_fields.items():
        yield prefix + name, field
        for option in options(field.annotation).values():
            yield from keys(option, f"{prefix}{name}.")


def free_keys(
    schema: type[Settings], when: Literal["when_resumed", "when_averaged", "when_replaced"]
) -> tuple[str, ...]:
    """Returns the keys, and groups of keys, in which runs may differ; see `MayDiffer`."""
    return tuple(
        key
        for key, field in keys(schema)
        if any(isinstance(mark, MayDiffer) and getattr(mark, when) for mark in field.metadata)
    )


def text_keys(schema: type[Settings]) -> dict[str, bool]:
    """Returns the keys whose values are text: paths, names, and other strings without a closed set of values.

    On a command line they mean what is written there, whatever Hydra's grammar would make of it.

    Returns:
        Whether each key, by its dotted name, also takes a list.
    """
    found = {}
    for key, field in keys(schema):
        allowed = kinds(field.annotation)
        takes_list = any(get_origin(kind) is tuple and str in get_args(kind) for kind in allowed)
        if takes_list or str in allowed:
            found[key] = takes_list
    return found


def options(annotation: Any) -> dict[str, type[Settings]]:
    """Returns the models that a type allows, by what their ``name`` has to be; empty if it allows none."""
    models = [kind for kind in kinds(annotation) if isinstance(kind, type) and issubclass(kind, Settings)]
    if len(models) == 1:
        return {"": models[0]}
    return {get_args(model.model_fields["name"].annotation)[0]: model for model in models}


def kinds(annotation: Any) -> list[Any]:
    """Returns the types of a union, or the type itself; without what annotates them."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return kinds(get_args(annotation)[0])
    if origin in (Union, UnionType):
        return [kind for part in get_args(annotation) for kind in kinds(part)]
    return [annotation]


# What is wrong, in one line.

_EXPECTED = {
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "string_type": "a path or a name",
    "model_type": "a group of keys",
    "tuple_type": "a list of 2 numbers",
    "too_long": "2 numbers",
    "finite_number": "a finite number",
}
"""What pydantic's own errors expect, in the words of our messages."""
_BOUNDS = {
    "greater_than": ("more than", "gt"),
    "greater_than_equal": ("at least", "ge"),
    "less_than": ("less than", "lt"),
    "less_than_equal": ("at most", "le"),
}


def _first_error(error: ValidationError, schema: type[Settings], key: str = "", null: str = "null") -> str:
    first = error.errors(include_url=False)[0]
    place, field, siblings = _locate(schema, first["loc"])
    value, kind = first["input"], first["type"]
    if kind == "missing" and place.endswith("]"):  # a list that is too short lacks its last element
        place, kind = place.rpartition("[")[0], "too_long"
    tags = list(options(field.annotation)) if field else []
    if kind in ("union_tag_invalid", "union_tag_not_found"):
        place, value = f"{place}.name", value.get("name") if isinstance(value, dict) else getattr(value, "name", None)
    where = ".".join(filter(None, (key, place)))
    if kind == "missing":
        return f"{where}: not set, expected a value"
    if kind == "extra_forbidden":
        near = difflib.get_close_matches(place.rpartition(".")[2], siblings, n=1)
        return f"{where}: no such key" + "".join(f"; did you mean {name}?" for name in near)
    if kind == "refused":
        return f"{where}: {first['msg']}"
    found = null if value is None else brief(value)
    may_be_null = field is not None and kind.endswith("_type") and not place.endswith("]")
    or_null = " or null" if may_be_null and field is not None and NoneType in kinds(field.annotation) else ""
    return f"{where}: found {found}, expected {_expected(first, kind, tags)}{or_null}"


def _expected(error: ErrorDetails, kind: str, tags: Sequence[str]) -> str:
    """Returns in words what would have been right."""
    if tags and kind in ("union_tag_invalid", "union_tag_not_found", "model_attributes_type"):
        return f"one of: {', '.join(tags)}"
    if kind == "literal_error":
        return f"one of: {error['ctx']['expected'].replace(chr(39), '').replace(' or ', ', ')}"
    if kind in _BOUNDS:
        words, name = _BOUNDS[kind]
        bound = error["ctx"][name]
        return f"{words} {bound:g}" if isinstance(bound, float) else f"{words} {bound}"
    return _EXPECTED.get(kind, error["msg"])


def _locate(schema: type[Settings], loc: tuple[int | str, ...]) -> tuple[str, FieldInfo | None, list[str]]:
    """Returns the dotted key of an error, its field if there is one, and the keys beside it.

    Pydantic names in the place of an error also which option of a group was picked; that is not part of the key.
    """
    key, field, model, beside = "", None, None, list(schema.model_fields)
    found: dict[str, type[Settings]] = {"": schema}
    for part in loc:
        if len(found) > 1 and part in found:
            found = {"": found[str(part)]}
            continue
        if isinstance(part, int):
            key += f"[{part}]"
            continue
        model = found.get("")
        key += f".{part[:40]}" if key else part[:40]
        beside = list(model.model_fields) if model else []
        field = model.model_fields.get(part) if model else None
        found = options(field.annotation) if field else {}
    return key, field, beside
