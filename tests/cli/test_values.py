"""Names and paths that people have, on a command line: what is written is what is meant, also when it is resumed."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Quote, QuotedString
from omegaconf import OmegaConf

from tests.fixtures import InProcess
from vseg_nas.cli.command import command
from vseg_nas.cli.values import as_written, assignment, shown, text_of
from vseg_nas.errors import ConfigError, RunError
from vseg_nas.runs.record import write_record
from vseg_nas.runs.resume import stored_overrides
from vseg_nas.schema import CompareConfig, ReportConfig, SearchConfig, TrainConfig
from vseg_nas.settings import text_keys

NAMES = (
    "été", "München", "日本", "emoji😀", "e\u0301", "a\u00a0b", "drive (1)", "a b", "a  b", " a", "a ", "a\tb", "a=b",
    "=", "a,b", "a:b", "a;b", "#", "a#b", "&", "a&b", "'", "l'été", '"', 'a"b', "'\"", "a'b\"c", "\\", "a\\",
    "a\\b", "a\\'", "a\\\\", "2011_09_26", "2024_01_15", "2024-01-15", "1e5", "0x10", "0b1", "1_000", "007", "1.0",
    "inf", "nan", "true", "Off", "yes", "Null", "$", "a$b", "$HOME", "%d", "@", "!", "*", "?", "{a}", "{a:b}",
    "[a]b", "(a)", "choice(1)", "glob(*)", "<x>", "|", "^", "`x`", "~", "a~", "-", "+", "...", "a/b c/d", "x" * 200,
)  # fmt: skip
KEYS = {"name": False, "run": True}


def read(override: str) -> object:
    return OverridesParser.create().parse_override(override).value()


@pytest.mark.parametrize("sign", ["", "+", "++"])
def test_awkward_names_are_taken_as_they_are_written(sign: str) -> None:
    assert len(NAMES) > 60
    for name in NAMES:
        if name != "~":  # the home folder
            override = as_written(f"{sign}name={name}", KEYS, multirun=False)
            assert read(override) == name
            assert as_written(override, KEYS, multirun=False) == override  # so what a run stores is read again


def test_values_that_are_quoted_for_hydra_mean_the_same() -> None:
    for name in NAMES:
        for quote in "'\"":
            inside = name.replace(quote, f"\\{quote}")
            if "\\" not in name:
                assert read(as_written(f"name={quote}{inside}{quote}", KEYS, multirun=False)) == name


def test_lists_and_sweeps_of_awkward_names() -> None:
    bounded = [name for name in NAMES if name == name.strip() and name[0] not in "'\"~"]
    plain = [name for name in bounded if "," not in name and name[-1] != "\\"]  # Hydra reads `["\\\\","a"]` as one
    assert len(plain) > 50
    assert read(as_written(f"run=[{', '.join(plain)}]", KEYS, multirun=False)) == plain
    swept = OverridesParser.create().parse_override(as_written(f"name={','.join(plain)}", KEYS, multirun=True))
    assert [read(f"x={value}") for value in swept.sweep_string_iterator()] == plain
    cells = as_written("name=a b:1,runs/été:2,'c,d:3'", KEYS, multirun=True)
    values = OverridesParser.create().parse_override(cells).sweep_string_iterator()
    assert [read(f"x={value}") for value in values] == ["a b:1", "runs/été:2", "c,d:3"]


@pytest.mark.parametrize(
    ("written", "multirun", "meant"),
    [
        ("name=null", False, None),
        ("name='null'", False, "null"),
        ("name=", False, ""),
        ("run=[]", False, []),
        ("run=[a,'b,c', d e ]", False, ["a", "b,c", "d e"]),
        ("name=[a]", False, "[a]"),
        ("run=./[a]", False, "./[a]"),
        ("run=a,b", False, "a,b"),
        ("seed=1e5", False, 1e5),
    ],
)
def test_what_keeps_the_meaning_it_has_for_hydra(written: str, multirun: bool, meant: object) -> None:
    assert read(as_written(written, KEYS, multirun)) == meant


def test_sweeps_by_a_function_and_references_are_left_to_hydra() -> None:
    for override in ("name=choice(a,b)", "name=range(1,3)", "name=${seed}", "name=a$\\{seed\\}"):
        assert as_written(override, KEYS, multirun=True) == override


def test_bytes_that_are_no_text_are_refused() -> None:
    for override in (f"name={os.fsdecode(b'a' + bytes([255]))}", f"seed={os.fsdecode(bytes([195]))}"):
        with pytest.raises(ConfigError, match="which is no UTF-8, expected text"):
            as_written(override, KEYS, multirun=False)


def test_several_runs_cannot_be_resumed_at_once() -> None:
    with pytest.raises(ConfigError, match=r"^resume: found several values, expected one"):
        text_of("resume", ["resume=a,b"])
    assert text_of("resume", ["resume=a", "seed=1", "resume='b c'"]) == "b c"
    assert text_of("resume", ["resume=null"]) is text_of("resume", ["resumed=a"]) is None


@pytest.mark.parametrize("sign", ["", "+", "++", "~"])
def test_what_is_given_again_is_not_taken_from_the_record(tmp_path: Path, sign: str) -> None:
    write_record(tmp_path, "seed: 1\n", ["seed=1", "name=a", "executor.address=10.0.0.1:6379"])
    given = [f"{sign}seed=2", f"{sign}executor.address=null"]
    assert stored_overrides(tmp_path, given) == ["name=a"]
    with pytest.raises(RunError, match=r"found executor\.address; give it again"):
        stored_overrides(tmp_path, ["seed=2"])


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (["executor=serial"], ["seed=1"]),
        (["executor=ray"], ["seed=1", "executor.mode=async"]),
        (["executor.workers=2"], ["seed=1", "executor=ray", "executor.mode=async"]),
    ],
)
def test_another_executor_takes_no_options_of_the_first(tmp_path: Path, given: list[str], expected: list[str]) -> None:
    write_record(tmp_path, "seed: 1\n", ["seed=1", "executor=ray", "executor.mode=async"])
    assert stored_overrides(tmp_path, given) == expected


def test_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/home/me too")
    assert read(as_written("name=~/a", KEYS, multirun=False)) == "/home/me too/a"
    assert read(as_written("run=[~/a,b/~/c]", KEYS, multirun=False)) == ["/home/me too/a", "b/~/c"]
    for literal in ("./~/a", "~you/a", "a~"):
        assert read(as_written(f"name={literal}", KEYS, multirun=False)) == literal


def test_every_path_and_name_of_every_command_is_text() -> None:
    keys = {schema: text_keys(schema) for schema in (SearchConfig, TrainConfig, ReportConfig, CompareConfig)}
    assert {"name", "resume", "runs_dir", "dataset.root", "static.weights", "static.encoder_weights"} <= set(
        keys[SearchConfig]
    )
    assert "static.encoder_weights" in keys[TrainConfig]
    assert keys[TrainConfig]["cell"] is False
    assert keys[ReportConfig]["run"] is True
    assert keys[CompareConfig]["run"] is False
    assert not {"seed", "phase.search.split", "dataset.name", "strategy.clip", "debug"} & set(keys[SearchConfig])


def test_a_printed_command_is_read_again_by_shell_and_hydra() -> None:
    for name in (*NAMES, "null", "[a]", "'a'", "~/x"):
        for key, listed in KEYS.items():
            (argument,) = shlex.split(assignment(key, name))
            assert read(as_written(argument, KEYS, multirun=False)) == name, listed
        rewritten = as_written(f"name={name}", KEYS, multirun=False)
        (again,) = shlex.split(shown([rewritten], KEYS))
        assert as_written(again, KEYS, multirun=False) == rewritten
    assert shown([as_written("name=a b", KEYS, multirun=False)], KEYS) == "'name=a b'"


@pytest.mark.parametrize(
    ("name", "quoted"),
    [("été (1) ~", True), ("2011_09_26", False), ("a=b, 'c' & \"#\"", False), ("cash$x [c]: %d", True)],
)
def test_a_run_of_an_awkward_name_is_made_and_resumed(
    in_process: InProcess, tmp_path: Path, name: str, quoted: bool
) -> None:
    seen: list[tuple[str, Path]] = []
    resumed = command("search", SearchConfig)(lambda config, run_dir: seen.append((config.name, run_dir)))
    given = f"name={QuotedString(name, Quote.single).with_quotes()}" if quoted else f"name={name}"
    assert in_process(resumed, given) == (0, "", "")
    folder = tmp_path / "runs/search/synthetic" / name
    assert seen.pop() == (name, folder)
    assert yaml.safe_load((folder / "config.yaml").read_text())["name"] == name
    assert in_process(resumed, f"resume=runs/../{folder.relative_to(tmp_path)}/") == (0, "", "")
    found, run_dir = seen.pop()
    assert (found, run_dir.resolve()) == (name, folder)
    assert [path.name for path in (tmp_path / "runs/search/synthetic").iterdir()] == [name.partition("/")[0]]


def test_a_configuration_of_awkward_names_is_stored_as_text() -> None:
    stored = yaml.safe_load(OmegaConf.to_yaml(OmegaConf.create({str(i): name for i, name in enumerate(NAMES)})))
    assert list(stored.values()) == list(NAMES)


def test_jobs_of_a_sweep_have_awkward_values_and_are_resumed(in_process: InProcess, tmp_path: Path) -> None:
    seen: list[str] = []
    main = command("train", TrainConfig)(lambda config, run_dir: seen.append(config.cell))
    assert in_process(main, "--multirun", "cell=été (1):1,2011_09_26,'a, b=c:2'", "runs_dir=1e5 #")[0] == 0
    assert seen == ["été (1):1", "2011_09_26", "a, b=c:2"]
    (sweep,) = (tmp_path / "1e5 #/train/synthetic").iterdir()
    for job, cell in enumerate(seen[:3]):
        assert in_process(main, f"resume={sweep.relative_to(tmp_path)}/{job}")[0] == 0
        assert seen[-1] == cell
