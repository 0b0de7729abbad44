"""Whatever a user or a stranger's file can do to any command, generated from the schema; no torch here.

A case is a command line, perhaps with things made in the folder ``odd`` of its world, a folder or a process's variables
changed, and what has to come of it.
"""

import json
import os
import random
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import NoneType
from typing import Any, Literal, get_args, get_origin

from pydantic.fields import FieldInfo

from tests.builders import seal
from vseg_nas.schema import (
    BenchmarkConfig,
    CheckConfig,
    CommandConfig,
    CompareConfig,
    EvaluateConfig,
    ExportConfig,
    PredictConfig,
    PretrainConfig,
    ReportConfig,
    SearchConfig,
    TrainConfig,
)
from vseg_nas.settings import Settings, kinds, options

SEED = 0
SYNTHETIC = ("dataset.size=[64,64]", "dataset.clips=8", "dataset.val_clips=2", "dataset.frames_per_drive=4")
BASE: dict[str, tuple[str, ...]] = {  # command lines that are right in a world
    "search": ("gpu=cpu", "logger=none", "static.weights=static.safetensors", *SYNTHETIC),
    "pretrain": ("gpu=cpu", *SYNTHETIC),
    "train": ("gpu=cpu", "logger=none", "static.weights=static.safetensors", "cell=local_filters", *SYNTHETIC),
    "evaluate": ("gpu=cpu", "checkpoint=net.safetensors", "static.weights=static.safetensors", *SYNTHETIC),
    "benchmark": ("gpu=cpu", "cell=local_filters", "size=[64,64]", "repeats=1", "warmup=1"),
    "compare": ("run=search",),
    "check": ("dataset.root=camvid",),
    "predict": ("gpu=cpu", "source=frames", "checkpoint=net.safetensors", "overlay=false", "frames=1"),
    "export": ("checkpoint=net.safetensors",),
    "report": ("run=timed",),
}
SCHEMAS: dict[str, type[CommandConfig]] = {
    "search": SearchConfig,
    "pretrain": PretrainConfig,
    "train": TrainConfig,
    "evaluate": EvaluateConfig,
    "benchmark": BenchmarkConfig,
    "compare": CompareConfig,
    "check": CheckConfig,
    "predict": PredictConfig,
    "export": ExportConfig,
    "report": ReportConfig,
}
DEFAULTS = {
    "dataset": "synthetic",
    "strategy": "ppo",
    "executor": "serial",
    "pruner": "halfway",
    "reward": "geometric_mean",
    "key": "every",
}
ODD = "odd"
"""Folder in a world that a case may make and fill."""


@dataclass(frozen=True)
class Case:
    """Something that somebody does.

    Attributes:
        name: of its own.
        verb: the command.
        arguments: of the command.
        prepare: makes what is needed in the world.
        environment: variables of the process.
        must: be refused; False: be accepted; None: either.
        named: what the line has to say.
    """

    name: str
    verb: str
    arguments: tuple[str, ...]
    prepare: Callable[[Path], object] = lambda world: None
    environment: dict[str, str] = field(default_factory=dict)
    must: bool | None = True
    named: str = ""


def with_base(verb: str, *overrides: str) -> tuple[str, ...]:
    """A right command line but for these."""
    keys = [override.lstrip("+~").partition("=")[0] for override in overrides]

    def is_replaced(override: str) -> bool:
        key = override.partition("=")[0]
        return any(key == other or key.startswith(f"{other}.") for other in keys)

    return (*(override for override in BASE[verb] if not is_replaced(override)), *overrides)


# Values of every key.


@dataclass(frozen=True)
class Leaf:
    """A key of a configuration, and its field in the schema."""

    key: str
    field: FieldInfo

    @property
    def optional(self) -> bool:
        return NoneType in kinds(self.field.annotation)

    @property
    def kind(self) -> str:
        """What stands in `WRONG` for it."""
        plain = [kind for kind in kinds(self.field.annotation) if kind is not NoneType]
        if get_origin(plain[0]) is tuple:
            (element,) = kinds(get_args(plain[0])[0])
            return {str: "paths", int: "integers", float: "numbers"}[element]
        if len(plain) > 1:
            return "intorstr"
        return "choice" if get_origin(plain[0]) is Literal else str(plain[0].__name__)

    def bound(self, name: str) -> float | None:
        """A limit of the numbers that it takes: ``ge``, ``le`` or ``gt``."""
        rules = [*self.field.metadata, *(rule for part in get_args(self.field.annotation) for rule in _rules(part))]
        found = [getattr(rule, name) for rule in rules if hasattr(rule, name)]
        return found[0] if found else None


def _rules(annotation: Any) -> tuple[Any, ...]:
    """What annotates the numbers of ``X | None``."""
    return tuple(rule for part in getattr(annotation, "__metadata__", ()) for rule in getattr(part, "metadata", [part]))


def leaves(schema: type[Settings], prefix: str = "", verb: str = "") -> Iterator[Leaf]:
    """All keys of a configuration, by the defaults of its groups."""
    for name, field_ in schema.model_fields.items():
        groups = options(field_.annotation)
        if len(groups) > 1:
            option = "camvid" if (verb, name) == ("check", "dataset") else DEFAULTS[name]
            yield from leaves(groups[option], f"{prefix}{name}.", verb)
        elif groups:
            yield from leaves(groups[""], f"{prefix}{name}.", verb)
        else:
            yield Leaf(prefix + name, field_)


TREES = {"list": "[a]", "mapping": "{a:1}"}
NO_NUMBER = {"text": "many", "empty": "''", "nan": "nan", "infinite": "inf", "less than infinite": "-inf"}
UNREADABLE = {"unknown reference": "${nosuch}", "environment": "${oc.env:HOME}", "own reference": "${%s}"}
WRONG: dict[str, dict[str, str]] = {  # by kind: what is refused whatever the rule
    "int": NO_NUMBER | TREES | UNREADABLE | {"fraction": "1.5", "overflow": "1e999", "list of it": "[1]"},
    "float": NO_NUMBER | TREES | UNREADABLE | {"overflow": "1e999", "list of it": "[1.0]"},
    "bool": TREES | UNREADABLE | {"text": "maybe", "empty": "''", "list of it": "[true]"},
    "str": UNREADABLE,  # anything else is text, as it is written
    "intorstr": TREES | UNREADABLE | {"text": "wide", "zero": "0", "negative": "-8", "fraction": "1.5"},
    "choice": TREES | UNREADABLE | {"text": "nosuch", "empty": "''", "number": "7", "with a space": "' '"},
    "integers": UNREADABLE
    | {"text": "[a,b]", "number": "3", "none": "[]", "one": "[64]", "three": "[64,64,64]", "nan": "[64,nan]"}
    | {"negative": "[-64,-64]", "fraction": "[64,64.5]", "nested": "[[64],[64]]", "null in it": "[64,null]"}
    | {"mapping": "{a:1}", "infinite": "[inf,inf]"},
    "numbers": UNREADABLE
    | {"text": "[a,b]", "number": "3", "none": "[]", "one": "[1.0]", "three": "[1.0,1.0,1.0]", "nan": "[1.0,nan]"}
    | {"negative": "[-1.0,-1.0]", "nested": "[[1.0],[1.0]]", "mapping": "{a:1}", "infinite": "[1.0,inf]"},
    "paths": UNREADABLE
    | {"numbers": "[1,2]", "mapping": "{a:1}", "none": "[]", "null in it": "[null]", "nested": "[[net.safetensors]]"},
}
EITHER: dict[str, dict[str, str]] = {  # what may be right or wrong, but never a traceback
    "int": {"true": "true", "huge": "99999999999999999999", "as text": "'1'", "negative": "-1", "spaces": "' 1 '"},
    "float": {"true": "true", "huge": "1e300", "tiny": "1e-320", "negative": "-1", "as text": "'0.5'"},
    "bool": {"number": "3", "word": "yes", "nan": "nan", "as text": "'true'"},
    "str": TREES
    | {
        "empty": "''",
        "space": "' '",
        "number": "7",
        "nan": "nan",
        "quotes": '"a\'b"',
        "newline": "'a\nb'",
        "escape": "'a\x1b[2Jb'",
        "direction": "\u202eabc",
        "not UTF-8": "a\udcffb",
        "long": "x" * 5000,
        "up": "../up",
        "root": "/",
        "brackets": "'[a]{b}'",
        "home": "~",
        "emoji": "\U0001f6a6",
        "tab": "a\tb",
    },
    "intorstr": {"huge": "10000000", "native": "native"},
    "choice": {"capitals": "PPO"},
    "integers": {"huge": "[1000000000,1000000000]", "strip": "[64,100000000]"},
    "numbers": {"huge": "[1e300,1e300]"},
    "paths": {"empty": "''", "number": "3", "home": "~", "not UTF-8": "a\udcffb"},
}
CONSTANT = "debug"  # true gives a traceback, and is meant to


def values(verb: str, leaf: Leaf) -> Iterator[tuple[str, str, bool | None]]:
    """Label, text and what must come of it, for one key."""
    for label, text in WRONG[leaf.kind].items():
        yield label, text.replace("%s", leaf.key), True
    for label, text in EITHER[leaf.kind].items():
        yield label, text, None
    yield "null", "null", None if leaf.optional or leaf.kind == "paths" else True
    low, high, above = (leaf.bound(name) for name in ("ge", "le", "gt"))
    if leaf.kind in ("int", "float"):
        for label, number in (("below", low), ("not above", above), ("beyond", high)):
            if number is not None:
                yield label, str(number + {"below": -1, "not above": 0, "beyond": 1}[label]), True


def of_the_schema() -> Iterator[Case]:
    """Wrong types, out of range, empty, huge, not finite, unicode and references, for every key of every command.

    Keys of groups, which many commands share, are tried with one of them.
    """
    rng = random.Random(SEED)
    sharing: dict[str, list[tuple[str, Leaf]]] = {}
    for verb, schema in SCHEMAS.items():
        for leaf in leaves(schema, verb=verb):
            if leaf.key != CONSTANT:
                sharing.setdefault(leaf.key if "." in leaf.key else f"{verb} {leaf.key}", []).append((verb, leaf))
    for found in sharing.values():
        verb, leaf = rng.choice(found)
        for label, text, must in rng.sample(list(values(verb, leaf)), 1 if "." in leaf.key else 3):
            yield Case(f"{verb} {leaf.key} {label}", verb, with_base(verb, f"{leaf.key}={text}"), must=must)


# What may lie where a path leads.


def odd(world: Path) -> Path:
    """The folder, made."""
    (world / ODD).mkdir(exist_ok=True)
    return world / ODD


def empty_file(path: Path) -> None:
    path.write_bytes(b"")


def sparse(path: Path) -> None:
    with path.open("wb") as file:
        file.truncate(2**42)


def truncated(right: str) -> Callable[[Path], object]:
    def make(path: Path) -> None:
        source = path.parents[1] / right
        if source.is_dir():
            shutil.copytree(source, path)
            for file in path.rglob("*"):
                if file.is_file() and file.name != "lock":
                    os.truncate(file, file.stat().st_size // 2)
        else:
            path.write_bytes(source.read_bytes()[: source.stat().st_size // 2])

    return make


THINGS: dict[str, Callable[[Path], object]] = {  # none of them is what any command expects
    "missing": lambda path: None,
    "empty folder": lambda path: path.mkdir(),
    "FIFO": lambda path: os.mkfifo(path),
    "dangling link": lambda path: path.symlink_to("nowhere"),
    "link to itself": lambda path: path.symlink_to(path.name),
    "endless device": lambda path: path.symlink_to("/dev/zero"),
    "empty device": lambda path: path.symlink_to("/dev/null"),
    "unreadable": lambda path: path.symlink_to("/proc/self/mem"),
    "empty": empty_file,
    "zeros": lambda path: path.write_bytes(bytes(4096)),
    "text": lambda path: path.write_text("weights of a network\n"),
    "JSON": lambda path: path.write_text("[1, 2, 3]"),
    "picture": lambda path: shutil.copy(path.parents[1] / "frames" / "1.png", path),
    "terabytes": sparse,
    "folder of folders": lambda path: (path / "search.sqlite" / "x").mkdir(parents=True),
}
NAMES: dict[str, str] = {  # awkward, of something that is right
    "spaces": "a b",
    "brackets": "a[1]",
    "braces": "a{b}",
    "comma": "a,b",
    "equals": "a=b",
    "colon": "a:b",
    "quote": "a'b",
    "double quote": 'a"b',
    "backslash": "a\\b",
    "dollar": "a$b",
    "hash": "a#b",
    "percent": "a%20b",
    "newline": "a\nb",
    "escape": "a\x1b[2Jb",
    "unicode": "stra\u00dfe \U0001f6a6",
    "direction": "a\u202eb",
    "not UTF-8": "a\udcffb",
    "dash": "-a",
    "tilde": "~a",
    "star": "a*",
}
PATHS: dict[str, tuple[tuple[str, str, tuple[str, ...]], ...]] = {  # key, what is right there, what else it needs
    "search": (
        ("static.weights", "static.safetensors", ()),
        ("resume", "search", ()),
        ("dataset.root", "camvid", ("dataset=camvid", "static.encoder_weights=null")),
    ),
    "pretrain": (
        ("dataset.root", "camvid", ("dataset=camvid", "static.encoder_weights=null")),
        ("dataset.root", "camvid", ("dataset=cityscapes", "static.encoder_weights=null")),
        ("static.encoder_weights", "static.safetensors", ()),
        ("resume", "search", ()),
    ),
    "train": (
        ("static.weights", "static.safetensors", ()),
        ("cell", "cell.json", ()),
        ("cell", "search", ()),
        ("resume", "search", ()),
    ),
    "evaluate": (
        ("checkpoint", "net.safetensors", ("baselines=false",)),
        ("static.weights", "static.safetensors", ()),
        ("resume", "evaluated", ()),
    ),
    "benchmark": (("checkpoint", "net.safetensors", ("cell=null",)), ("cell", "cell.json", ())),
    "compare": (("run", "search", ()),),
    "check": (("dataset.root", "camvid", ()), ("dataset.root", "camvid", ("dataset=cityscapes",))),
    "predict": (
        ("source", "frames", ()),
        ("checkpoint", "net.safetensors", ()),
        ("checkpoint", "frames", ("runtime=onnx",)),
    ),
    "export": (("checkpoint", "net.safetensors", ()),),
    "report": (("run", "timed", ()), ("run", "search", ()), ("run", "evaluated", ())),
}


def quoted(path: str) -> str:
    """As Hydra's grammar has it."""
    return "'" + path.replace("\\", "\\\\").replace("'", "\\'") + "'"


def of_paths() -> Iterator[Case]:
    """Things that are missing, of another kind, unreadable, endless or foreign, and awkward names of right ones."""
    rng = random.Random(SEED + 1)
    for verb, keys in PATHS.items():
        for key, right, more in keys:
            what = f"{verb} {' '.join([key, *more[:1]])} {right}"
            suffix = ":1" if (verb, key, right) == ("train", "cell", "search") else ""
            things = THINGS | {"truncated": truncated(right)}
            for label in rng.sample(sorted(things), 5):
                make = things[label]

                def prepare(world: Path, make: Callable[[Path], object] = make) -> None:
                    make(odd(world) / "x")

                arguments = with_base(verb, *more, f"{key}={ODD}/x{suffix}")
                must = None if (verb, key, label) == ("search", "static.weights", "missing") else True  # it is made
                yield Case(f"{what} {label}", verb, arguments, prepare, must=must)
            for label in rng.sample(sorted(NAMES), 3):

                def place(world: Path, name: str = NAMES[label], right: str = right) -> None:
                    copy = shutil.copytree if (world / right).is_dir() else shutil.copy
                    copy(world / right, odd(world) / name)

                arguments = with_base(verb, *more, f"{key}={quoted(f'{ODD}/{NAMES[label]}{suffix}')}")
                yield Case(f"{what} named with {label}", verb, arguments, place, must=None)


# Run folders that somebody else has written.


def text(name: str, content: str) -> Callable[[Path], object]:
    return lambda run: (run / name).write_text(content)


def raw(name: str, content: bytes) -> Callable[[Path], object]:
    return lambda run: (run / name).write_bytes(content)


def instead(name: str, make: Callable[[Path], object]) -> Callable[[Path], object]:
    """Something else in the place of a file."""

    def change(run: Path) -> None:
        (run / name).unlink(missing_ok=True)
        make(run / name)

    return change


def edited(name: str, old: str, new: str) -> Callable[[Path], object]:
    def change(run: Path) -> None:
        content = (run / name).read_text()
        assert old in content
        (run / name).write_text(content.replace(old, new, 1))

    return change


def in_json(name: str, *keys: str | int, value: Any) -> Callable[[Path], object]:
    """A file with one value changed."""

    def change(run: Path) -> None:
        content = node = json.loads((run / name).read_text())
        for key in keys[:-1]:
            node = node[key]
        node[keys[-1]] = value
        (run / name).write_text(json.dumps(content))

    return change


def in_store(statement: str) -> Callable[[Path], object]:
    def change(run: Path) -> None:
        with sqlite3.connect(run / "search.sqlite") as connection:
            connection.executescript(statement)
        connection.close()

    return change


def files_in_the_way(name: str) -> dict[str, Callable[[Path], object]]:
    labels = ("FIFO", "dangling link", "link to itself", "endless device", "unreadable", "empty", "zeros", "text")
    return {f"{name} is {label}": instead(name, THINGS[label]) for label in (*labels, "terabytes", "empty folder")}


RECORDS: dict[str, Callable[[Path], object]] = {
    **files_in_the_way("config.yaml"),
    **files_in_the_way("overrides.json"),
    **files_in_the_way("search.sqlite"),
    **files_in_the_way("record.sha256"),
    "config.yaml is a list": text("config.yaml", "[1, 2]"),
    "config.yaml is null": text("config.yaml", "null"),
    "config.yaml has an alias": text("config.yaml", "a: &a [1]\nb: *a\n"),
    "config.yaml has an object": text("config.yaml", "a: !!python/object/apply:os.mkdir [canary]"),
    "config.yaml is deep": text("config.yaml", "[" * 3000),
    "config.yaml is not UTF-8": raw("config.yaml", b"a: \xff\xfe"),
    "config.yaml has NUL": edited("config.yaml", "runs_dir: runs", 'runs_dir: "a\\0b"'),
    "config.yaml has other names": edited("config.yaml", "name: synthetic", "name: 7"),
    "config.yaml has a reference": edited("config.yaml", "runs_dir: runs", "runs_dir: ${oc.env:HOME}"),
    "config.yaml has a key that is a number": edited("config.yaml", "seed: 0", "seed: 0\n7: 8"),
    "config.yaml has a key that is a list": edited("config.yaml", "seed: 0", "seed: 0\n? [1, 2]\n: 8"),
    "config.yaml has a date": edited("config.yaml", "runs_dir: runs", "runs_dir: 2026-01-01"),
    "config.yaml has bytes": edited("config.yaml", "runs_dir: runs", "runs_dir: !!binary aGFsbG8="),
    "config.yaml has nan": edited("config.yaml", "val_fraction: 0.2", "val_fraction: .nan"),
    "config.yaml has an escape": edited("config.yaml", "runs_dir: runs", 'runs_dir: "a\\e[2Jb"'),
    "overrides.json is a mapping": text("overrides.json", "{}"),
    "overrides.json has numbers": text("overrides.json", "[1]"),
    "overrides.json has flags": text("overrides.json", '["--multirun"]'),
    "overrides.json has a folder of Hydra": text("overrides.json", '["hydra.run.dir=/tmp/x"]'),
    "overrides.json has a reference": text("overrides.json", '["name=${oc.env:HOME}"]'),
    "overrides.json has NUL": text("overrides.json", '["name=a\\u0000b"]'),
    "overrides.json has half a pair": text("overrides.json", '["name=\\ud800"]'),
    "overrides.json has a quote": text("overrides.json", '["name=\'"]'),
    "overrides.json is deep": text("overrides.json", "[" * 100_000),
    "search.sqlite is of version 99": in_store("UPDATE meta SET schema_version = 99"),
    "search.sqlite has no tables": in_store("DROP TABLE trials; DROP TABLE meta"),
    "search.sqlite has another digest": in_store("UPDATE trials SET sha256 = 'x'"),
    "search.sqlite has a text score": in_store("UPDATE trials SET score = 'high'"),
    "search.sqlite has a blob as genotype": in_store("UPDATE trials SET genotype = x'ff00'"),
    "search.sqlite has a trigger": in_store(
        "CREATE TRIGGER t AFTER INSERT ON trials BEGIN DELETE FROM trials; END; UPDATE trials SET seed = -1"
    ),
    "search.sqlite is a view": in_store("ALTER TABLE trials RENAME TO t; CREATE VIEW trials AS SELECT * FROM t"),
}
READERS: dict[str, tuple[str, tuple[str, ...]]] = {  # commands that read the folder of a search
    "resume": ("search", with_base("search", f"resume={ODD}/r")),
    "compare": ("compare", (f"run={ODD}/r",)),
    "cell": ("train", with_base("train", f"cell={ODD}/r:1")),
    "benchmark": ("benchmark", with_base("benchmark", f"cell={ODD}/r:1")),
    "report": ("report", (f"run={ODD}/r",)),
}
RESULTS: dict[str, dict[str, Callable[[Path], object]]] = {
    "evaluated": {
        **files_in_the_way("evaluate.json"),
        "null": text("evaluate.json", "null"),
        "deep": text("evaluate.json", "[" * 100_000),
        "no rows": in_json("evaluate.json", "rows", value=[]),
        "rows are a mapping": in_json("evaluate.json", "rows", value={}),
        "a row is a number": in_json("evaluate.json", "rows", 0, value=1),
        "format": in_json("evaluate.json", "format", value=["vseg_nas.evaluation/2"]),
        "size is text": in_json("evaluate.json", "size", value="big"),
        "size is negative": in_json("evaluate.json", "size", value=[-4, 4]),
        "size is huge": in_json("evaluate.json", "size", value=[10**400, 4]),
        "seconds are true": in_json("evaluate.json", "seconds", value=True),
        "seconds are huge": in_json("evaluate.json", "seconds", value=1e300),
        "seconds are negative": in_json("evaluate.json", "seconds", value=-1),
        "classes are empty": in_json("evaluate.json", "classes", value=[]),
        "classes are numbers": in_json("evaluate.json", "classes", value=[1, 2]),
        "score is beyond one": in_json("evaluate.json", "rows", 0, "pair", "miou", value=7),
        "score is text": in_json("evaluate.json", "rows", 0, "pair", "miou", value="0.5"),
        "score is nan": in_json("evaluate.json", "rows", 0, "pair", "miou", value=float("nan")),
        "IoUs are few": in_json("evaluate.json", "rows", 0, "pair", "iou_per_class", value=[0.5]),
        "name is odd": in_json("evaluate.json", "rows", 0, "group", value="a\n\x1b[2J$\\frac{</script>\u202e"),
        "name is half a pair": in_json("evaluate.json", "rows", 0, "group", value="\ud800"),
        "name is long": in_json("evaluate.json", "rows", 0, "group", value="x" * 100_000),
        "dataset is odd": in_json("evaluate.json", "dataset", value="../../x"),
        "seed is a fraction": in_json("evaluate.json", "rows", 0, "seed", value=1.5),
        "parameters are negative": in_json("evaluate.json", "rows", 0, "parameters", value=-1),
        "panel is a folder": in_json("evaluate.json", "panels", value=[{"file": ".", "title": "t", "row": "r"}]),
        "panel is a device": in_json(
            "evaluate.json", "panels", value=[{"file": "/dev/zero", "title": "t", "row": "r"}]
        ),
    },
    "timed": {
        **files_in_the_way("benchmark.json"),
        "null": text("benchmark.json", "null"),
        "no rows": in_json("benchmark.json", "rows", value=[]),
        "a row is null": in_json("benchmark.json", "rows", 0, value=None),
        "size is one": in_json("benchmark.json", "size", value=[4]),
        "time is negative": in_json("benchmark.json", "rows", 0, "static_ms", "median", value=-1),
        "time is zero": in_json("benchmark.json", "rows", 0, "static_ms", "median", value=0),
        "time is huge": in_json("benchmark.json", "rows", 0, "static_ms", "median", value=1e300),
        "time is text": in_json("benchmark.json", "rows", 0, "static_ms", value="fast"),
        "macs are true": in_json("benchmark.json", "rows", 0, "macs_static", value=True),
        "macs are huge": in_json("benchmark.json", "rows", 0, "macs_static", value=10**400),
        "repeats are none": in_json("benchmark.json", "repeats", value=0),
        "name is odd": in_json("benchmark.json", "rows", 0, "name", value="a\n\x1b[2J$\\frac{</script>\u202e"),
        "name is half a pair": in_json("benchmark.json", "rows", 0, "name", value="\udfff"),
        "device is long": in_json("benchmark.json", "device", value="x" * 100_000),
        "date is odd": in_json("benchmark.json", "date", value="<b>"),
        "more keys": in_json("benchmark.json", "rows", 0, "code", value="import os"),
    },
}
MAY_BE_ACCEPTED = (
    "an escape",
    "odd",
    "long",
    "huge",
    "zero",
    "date",
    "view",
    "few",
    "trigger",
    "negative",
    "<",
    "is empty folder",
)
NOT_READ = {  # what of a search's folder a command does without
    "compare": ("overrides.json",),
    "cell": ("overrides.json", "config.yaml", "record.sha256"),
    "benchmark": ("overrides.json", "config.yaml", "record.sha256"),
    "resume": ("NUL",),
    "report": ("NUL", "nan", "an escape", "a number", "a reference", "a date", "bytes", "numbers", "flags", "Hydra"),
}


def copied(run: str, change: Callable[[Path], object], sealing: bool) -> Callable[[Path], object]:
    def prepare(world: Path) -> None:
        folder = odd(world) / "r"
        shutil.copytree(world / run, folder)
        change(folder)
        if sealing:
            seal(folder)

    return prepare


def of_run_folders() -> Iterator[Case]:
    """Records, trial stores and results that are damaged, edited or hostile, sealed as their makers would."""
    rng = random.Random(SEED + 3)
    for label, change in RECORDS.items():
        sealing = not any(f"{name} is" in label for name in ("record.sha256", "config.yaml", "overrides.json"))
        for reader in rng.sample(sorted(READERS), 2):
            verb, arguments = READERS[reader]
            unread = any(part in label for part in NOT_READ[reader])
            yield Case(
                f"{reader} of a search whose {label}",
                verb,
                arguments,
                copied("search", change, sealing or label.split(" is ")[-1] in ("a list", "null", "deep", "a mapping")),
                must=None if unread or any(part in label for part in MAY_BE_ACCEPTED) else True,
            )
    for run, changes in RESULTS.items():
        for label, change in changes.items():
            may = any(part in label for part in (*MAY_BE_ACCEPTED, "more keys", "no rows", "empty"))
            name = f"report of {run}, {label}"
            arguments = (f"run={ODD}/r",)
            yield Case(name, "report", arguments, copied(run, change, False), must=None if may else True)


# Command lines.

LINES: dict[str, tuple[str, ...]] = {  # refused by every command
    "empty argument": ("",),
    "no key": ("=x",),
    "two equals": ("==",),
    "open quote": ("name='a",),
    "open bracket": ("name=[a",),
    "open brace": ("name={a",),
    "open reference": ("name=${",),
    "function": ("name=shuffle(a)",),
    "glob": ("name=glob(*)",),
    "word": ("name",),
    "NUL": ("name=a\0b",),
    "at": ("name@x=y",),
    "plus": ("+name=x",),
    "new key": ("+other=1",),
    "new tree": ("+a.b.c=1",),
    "forced key": ("++other.key=1",),
    "removed": ("~name",),
    "removed root": ("~debug",),
    "of a scalar": ("debug.x=1",),
    "debug is text": ("debug=maybe",),
    "number as key": ("7=8",),
    "unicode key": ("n\u00e4me=x",),
    "flag": ("--nosuch",),
    "short flag": ("-z",),
    "flag without value": ("--config-dir",),
    "configuration folder": ("--config-dir", "nowhere"),
    "configuration folder is a file": ("--config-dir", "cell.json"),
    "configuration path": ("--config-path", "nowhere"),
    "configuration name": ("--config-name", "nosuch"),
    "configuration of another command": ("--config-name", "hydra"),
    "rerun": ("--experimental-rerun", "nowhere.pickle"),
    "rerun of a file": ("--experimental-rerun", "cell.json"),
    "shown what": ("--cfg", "nosuch"),
    "shown package": ("--cfg", "job", "--package", "nosuch"),
    "run and several": ("--run", "--multirun"),
    "several of nothing": ("--multirun", "name="),
    "several unknown": ("--multirun", "nosuch=1,2"),
    "several ranges": ("--multirun", "debug=range(3)"),
    "interval": ("--multirun", "name=interval(0,1)"),
    "mode": ("hydra.mode=nosuch",),
    "several by mode": ("hydra.mode=MULTIRUN", "nosuch=1,2"),
    "callback": ("+hydra.callbacks.x._target_=os.system",),
    "launcher": ("hydra.launcher._target_=os.system",),
    "sweeper": ("hydra/sweeper=nosuch",),
    "run folder is null": ("hydra.run.dir=null",),
    "run folder is a list": ("hydra.run.dir=[a]",),
    "run folder refers to itself": ("hydra.run.dir=${hydra.run.dir}",),
    "run folder is a file": ("hydra.run.dir=cell.json",),
    "run folder is below a file": ("hydra.run.dir=cell.json/x",),
    "search path": ("hydra.searchpath=[pkg://os]",),
    "search path is a number": ("hydra.searchpath=7",),
    "logging": ("hydra/job_logging=nosuch",),
    "logging class": ("hydra.job_logging.handlers.file.class=os.system",),
    "verbose": ("hydra.verbose=[7]",),
    "environment set": ("hydra.job.env_set.X=[7]",),
    "environment copied": ("hydra.job.env_copy=[VSEG_NAS_NO_SUCH]",),
    "group": ("nosuch/group=x",),
    "long line": ("name=" + "x" * 100_000 + "[",),
}
MAY_PASS = ("several ranges", "several of nothing", "glob", "function", "open quote", "open bracket", "open brace")


def of_command_lines() -> Iterator[Case]:
    """Arguments that are no overrides, flags of Hydra, and keys of Hydra's own."""
    verbs = list(BASE)
    rng = random.Random(SEED + 2)
    for label, line in LINES.items():
        for verb in rng.sample(verbs, 2):
            arguments = (*BASE[verb], *line)
            may = any(label.startswith(part) for part in MAY_PASS)
            yield Case(f"{verb} line: {label}", verb, arguments, must=None if may else True)


# Variables of the process.

VARIABLES: dict[str, dict[str, str]] = {
    "threads are text": {"OMP_NUM_THREADS": "many"},
    "threads are negative": {"OMP_NUM_THREADS": "-3"},
    "waiting is text": {"OMP_WAIT_POLICY": "\u202e"},
    "spinning is text": {"GOMP_SPINCOUNT": "often"},
    "no home": {"HOME": ""},
    "home is no folder": {"HOME": "/dev/null"},
    "temporary folder is missing": {"TMPDIR": "/nowhere"},
    "columns are text": {"COLUMNS": "wide"},
    "columns are none": {"COLUMNS": "0"},
    "columns are negative": {"COLUMNS": "-7"},
    "lines are huge": {"LINES": "99999999999"},
    "terminal is unknown": {"TERM": "nosuch"},
    "language is unknown": {"LANG": "xx_YY.nosuch", "LC_ALL": "xx_YY.nosuch"},
    "language is C": {"LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONCOERCECLOCALE": "0"},
    "encoding is ASCII": {"PYTHONIOENCODING": "ascii"},
    "backend of matplotlib": {"MPLBACKEND": "nosuch"},
    "backend with a window": {"MPLBACKEND": "TkAgg"},
    "folder of matplotlib": {"MPLCONFIGDIR": "/dev/null"},
    "devices": {"CUDA_VISIBLE_DEVICES": "first,second"},
    "Slurm": {"SLURM_NTASKS": "many", "SLURM_JOB_ID": "x", "SLURM_PROCID": "-1", "SLURM_JOB_NAME": "bash"},
    "ranks": {"WORLD_SIZE": "many", "RANK": "x", "LOCAL_RANK": "-7", "MASTER_PORT": "port"},
    "Hydra": {"HYDRA_FULL_ERROR": "maybe", "HYDRA_MAIN_MODULE": "nosuch"},
    "W&B": {"WANDB_MODE": "nosuch", "WANDB_API_KEY": "short", "WANDB_DIR": "/dev/null"},
    "hash seed": {"PYTHONHASHSEED": "7"},
    "colours": {"NO_COLOR": "1", "FORCE_COLOR": "x", "COLORTERM": "nosuch"},
    "time zone": {"TZ": "nowhere/\u202e"},
    "random": {"PL_GLOBAL_SEED": "many", "PL_SEED_WORKERS": "x"},
}


def of_the_environment() -> Iterator[Case]:
    """Rubbish in variables, for commands that do their work and one that refuses; in processes of their own."""
    for number, (label, variables) in enumerate(VARIABLES.items()):
        verb = ("report", "check")[number % 2]
        yield Case(f"{verb} where {label}", verb, BASE[verb], environment=variables, must=None)
    for label in ("language is C", "encoding is ASCII", "threads are text", "columns are text", "no home"):
        arguments = with_base("evaluate", "checkpoint=stra\u00dfe.safetensors")
        yield Case(f"evaluate, refused where {label}", "evaluate", arguments, environment=VARIABLES[label])


def all_cases() -> dict[str, Case]:
    """By name, always the same."""
    made = [*of_the_schema(), *of_paths(), *of_run_folders(), *of_command_lines(), *of_the_environment()]
    cases = {case.name: case for case in made}
    assert len(cases) == len(made), "two cases of one name"
    return cases
