"""Values that are empty, as a shell variable leaves them that is not set: an error in every key, never a fall-back."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

import vseg_nas.evaluate
import vseg_nas.predict
import vseg_nas.report
import vseg_nas.search
from tests.fixtures import InProcess
from vseg_nas import schema
from vseg_nas.checking import check
from vseg_nas.config import conf_dir
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
    check(config, type_)
    for key in _leaves(config):
        broken = config.copy()
        OmegaConf.update(broken, key, "")
        with pytest.raises(ConfigError, match=key.split(".")[0]):
            check(broken, type_)


@pytest.mark.parametrize("empty", [" ", ["a", ""], []])
def test_nor_does_a_list_of_paths(empty: object, after_hydra: None) -> None:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = compose("report", overrides=["run=a"])
    OmegaConf.update(config, "run", empty)
    with pytest.raises(ConfigError, match="run: found"):
        check(config, schema.ReportConfig)


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
