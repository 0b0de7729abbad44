"""Values that are empty, as a shell variable leaves them that is not set: an error in every key, never a fall-back."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

import vseg_nas.benchmark
import vseg_nas.evaluate
import vseg_nas.predict
import vseg_nas.report
import vseg_nas.search
from tests.fixtures import InProcess
from vseg_nas import schema
from vseg_nas.cli.composition import conf_dir
from vseg_nas.cli.typed_config import typed_config
from vseg_nas.errors import ConfigError

COMMANDS: dict[str, tuple[type[schema.CommandConfig], list[str]]] = {
    "search": (schema.SearchConfig, ["dataset=camvid", "executor=ray"]),
    "train": (schema.TrainConfig, ["cell=local_filters"]),
    "evaluate": (schema.EvaluateConfig, ["checkpoint=a"]),
    "report": (schema.ReportConfig, ["run=a"]),
    "predict": (schema.PredictConfig, ["source=a", "key=adaptive"]),
}


def _leaves(node: DictConfig, prefix: str = "") -> Iterator[str]:
    for key in node:
        child = "" if OmegaConf.is_interpolation(node, str(key)) else node[key]
        if isinstance(child, DictConfig):
            yield from _leaves(child, f"{prefix}{key!s}.")
        elif child is None or isinstance(child, str):
            yield f"{prefix}{key!s}"


@pytest.mark.parametrize("verb", COMMANDS)
def test_no_key_takes_an_empty_value(verb: str, after_hydra: None) -> None:
    type_, overrides = COMMANDS[verb]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose(verb, overrides=overrides)
    typed_config(config, type_)
    for key in _leaves(config):
        broken = config.copy()
        OmegaConf.update(broken, key, "")
        with pytest.raises(ConfigError, match=key.split(".")[0]):
            typed_config(broken, type_)


@pytest.mark.parametrize("empty", [" ", ["a", ""], []])
def test_nor_does_a_list_of_paths(empty: object, after_hydra: None) -> None:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("report", overrides=["run=a"])
    OmegaConf.update(config, "run", empty)
    with pytest.raises(ConfigError, match="run: found"):
        typed_config(config, schema.ReportConfig)


@pytest.mark.parametrize(
    ("main", "options", "key"),
    [
        (vseg_nas.predict.main, ["source=."], "checkpoint"),
        (vseg_nas.predict.main, [], "source"),
        (vseg_nas.predict.main, ["source=."], "runs_dir"),
        (vseg_nas.search.main, [], "resume"),
        (vseg_nas.report.main, [], "run"),
        (vseg_nas.evaluate.main, ["checkpoint=a"], "name"),
    ],
)
def test_an_empty_value_is_one_line(
    in_process: InProcess, main: Callable[[], None], options: list[str], key: str
) -> None:
    status, _, err = in_process(main, *options, f"{key}=")
    assert (status, err) == (
        2,
        f"error: {key}: found an empty value, expected one that is not; what may be left out is null\n",
    )


TEXT = "a path or a name"
MISFITS: list[tuple[str, str, object, str]] = [
    ("search", "static.weights", None, f"found null, expected {TEXT}"),
    ("search", "runs_dir", None, f"found null, expected {TEXT}"),
    ("search", "runs_dir", {"a": 1}, f"found {{'a': 1}}, expected {TEXT}"),
    ("search", "name", None, f"found null, expected {TEXT}"),
    ("search", "seed", None, "found null, expected a whole number"),
    ("search", "phase.search.trials", None, "found null, expected a whole number"),
    ("search", "phase.search.trials", "abc", "found 'abc', expected a whole number"),
    ("search", "phase.search.trials", 1.5, "found 1.5, expected a whole number"),
    ("search", "phase.search.hours", "long", "found 'long', expected a number or null"),
    ("search", "phase.search.lr", None, "found null, expected a number"),
    ("search", "phase.search.transform.flip", None, "found null, expected true or false"),
    ("search", "phase.search.transform", None, "found null, expected a group of keys"),
    ("search", "phase.search.transform.crop", None, "found null, expected a list of 2 numbers"),
    ("search", "dataset.stride", None, "found null, expected a whole number"),
    ("search", "phase.search.transform.crop", [None, 32], "found null, expected a whole number"),
    ("search", "phase.search.transform.crop", 32, "found 32, expected a list of 2 numbers"),
    ("search", "space.width", None, "found null, expected a whole number from 1 to 1024 or 'native'"),
    ("search", "strategy.feedback", None, "found null, expected one of: hidden, token"),
    ("search", "strategy.name", None, "found null, expected one of: ppo, reinforce, random"),
    ("search", "gpu", None, "found null, expected a group of keys"),
    ("predict", "source", None, f"found null, expected {TEXT}"),
    ("predict", "size", 5, "found 5, expected a list of 2 numbers or null"),
    ("predict", "size", [32, "x"], "found 'x', expected a whole number"),
    ("report", "run", None, "found null, expected a path or a list of paths"),
    ("evaluate", "checkpoint", None, "found null, expected a path or a list of paths"),
]


@pytest.mark.parametrize(("verb", "key", "value", "expected"), MISFITS)
def test_a_value_that_does_not_fit_names_what_does(
    verb: str, key: str, value: object, expected: str, after_hydra: None
) -> None:
    type_, overrides = COMMANDS[verb]
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose(verb, overrides=overrides)
    OmegaConf.set_struct(config, False)
    OmegaConf.update(config, key, value, force_add=True)
    with pytest.raises(ConfigError) as refused:
        typed_config(config, type_)
    index = "" if not isinstance(value, list) else "[0]" if value[0] is None else "[1]"
    assert str(refused.value) == f"{key}{index}: {expected}"


@pytest.mark.parametrize(
    ("main", "key", "there"),
    [
        (vseg_nas.report.main, "run", "d"),
        (vseg_nas.evaluate.main, "checkpoint", "f"),
        (vseg_nas.benchmark.main, "checkpoint", "f"),
    ],
)
def test_several_paths_that_are_given_as_one_get_a_hint(
    in_process: InProcess,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    main: Callable[[], None],
    key: str,
    there: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "d").mkdir()
    (tmp_path / "f").touch()
    status, _, err = in_process(main, f"{key}={there},other")
    assert (status, err.count("\n")) == (2, 1), err
    assert f"{there},other, expected" in err
    assert err.endswith(f"; several are given as '{key}=[{there},other]'\n")
    assert "several" not in in_process(main, f"{key}=other")[2]
