"""The record of a run whose digests are right: what somebody has written into it is refused, at once, in one line."""

import time
from pathlib import Path

import pytest

from vseg_nas.errors import RunError
from vseg_nas.runs.record import recorded_config, recorded_overrides, write_record

CONFIG = "seed: 1\nname: '2026-11-28'\nspace: {width: 64, sizes: [48, 64]}\nrate: 0.5\nnote: null\nflip: true\n"

ODD = {
    "reference": "name: ${oc.env:HOME}",
    "reference in the middle": "name: 'x${seed}'",
    "reference with blanks": "name: 'x${ oc.env:HOME }'",
    "nested reference": "name: '${oc.decode:${oc.env:HOME}}'",
    "escaped reference": r"name: '\${oc.env:HOME}'",
    "reference in a list": "names: [a, [b, '${hydra:runtime.cwd}']]",
    "reference in a mapping in a list": "names: [{a: '${now:%Y}'}]",
    "reference in a key": "'${seed}': 1",
    "reference in a deep key": "a: {b: {'${seed}': 1}}",
    "reference by its character code": r'name: "\x24{oc.env:HOME}"',
    "no date": "a: !!timestamp abc",
    "no number": "a: !!int abc",
    "binary": "a: !!binary aGVsbG8=",
    "tag of ours": "a: !x y",
    "python": "a: !!python/name:os.system",
    "a date": "a: 2026-11-28",
    "a date that is none": "a: 2026-13-45",
    "anchor": "a: &b 1",
    "alias": "a: &b 1\nc: *b",
    "merge of an alias": "a: &b {c: 1}\nd: {<<: *b}",
    "directive": "%TAG ! tag:a,2026:\n---\na: 1",
    "two documents": "a: 1\n---\nb: 2",
    "5000 digits": f"a: {'9' * 5000}",
    "5000 digits, octal": f"a: 0{'7' * 5000}",
    "5000 digits, hexadecimal": f"a: 0x{'f' * 5000}",
    "base sixty": f"a: 1{':59' * 3000}",
    "64 bits": f"a: {2**63}",
    "infinity": "a: .inf",
    "no number at all": "a: [1, .nan]",
    "many keys": "".join(f"k{i}: 1\n" for i in range(6000)),
    "20,000 keys": "".join(f"k{i}: 1\n" for i in range(20_000)),
    "many elements": f"a: [{'1,' * 20_000}]",
    "many empty elements": f"a: [{'[],' * 15_000}]",
    "many block elements": "a:\n" + "- \n" * 15_000,
    "deep": "[" * 5000,
    "deep, closed": f"a: {'[' * 900}{']' * 900}",
    "deep mappings": "".join(f"{' ' * i}a:\n" for i in range(200)),
    "deep block lists": "- " * 500 + "a",
    "long text": f"a: {'x' * 5000}",
    "half a surrogate pair": r'a: "\uD800"',
    "NUL": r'a: "\0"',
    "a list": "[1, 2]",
    "a text": "seed",
    "number as a key": "1: 2",
    "list as a key": "? [1, 2]\n: 3",
    "no YAML": "a: [",
    "large": "a: b\n" * 10**5,
}


@pytest.mark.parametrize("name", ODD)
def test_a_configuration_of_somebody_else(tmp_path: Path, name: str) -> None:
    write_record(tmp_path, ODD[name], [])
    started = time.process_time()
    with pytest.raises(RunError) as caught:
        recorded_config(tmp_path)
    assert time.process_time() - started < 1
    line = str(caught.value)
    assert line.startswith(f"{tmp_path / 'config.yaml'}: ")
    assert len(line.splitlines()) == 1
    assert len(line) < len(str(tmp_path)) + 200


def test_a_configuration_of_ours(tmp_path: Path) -> None:
    write_record(tmp_path, CONFIG, ["seed=1"])
    assert recorded_config(tmp_path) == {
        "seed": 1, "name": "2026-11-28", "space": {"width": 64, "sizes": [48, 64]},
        "rate": 0.5, "note": None, "flip": True,
    }  # fmt: skip
    assert recorded_overrides(tmp_path) == ["seed=1"]


@pytest.mark.parametrize("overrides", [["name=\ud800"], ["name=a\0b"], ["a=1"] * 5000], ids=["half", "NUL", "many"])
def test_a_command_line_of_somebody_else(tmp_path: Path, overrides: list[str]) -> None:
    write_record(tmp_path, CONFIG, overrides)
    with pytest.raises(RunError, match=r"overrides.json: (not readable|found)"):
        recorded_overrides(tmp_path)
