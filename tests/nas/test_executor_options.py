"""`executor=` on the command line."""

from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from vseg_nas.checking import check
from vseg_nas.config import conf_dir
from vseg_nas.errors import ConfigError
from vseg_nas.schema import ExecutorConfig, IsolatedConfig, SearchConfig, SerialConfig


def composed(*overrides: str) -> ExecutorConfig:
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        executor: ExecutorConfig = check(compose("search", list(overrides)), SearchConfig).executor
    return executor


def test_candidates_run_in_process_unless_isolation_is_asked_for() -> None:
    assert composed() == SerialConfig("serial")
    assert composed("executor=isolated") == IsolatedConfig("isolated", None, None)
    limited = composed("executor=isolated", "executor.limit_s=90", "executor.memory_gib=2.5")
    assert limited == IsolatedConfig("isolated", 90.0, 2.5)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (["executor=isolated", "executor.limit_s=0"], r"^executor.limit_s: found 0.0, expected more than 0$"),
        (["executor=isolated", "executor.memory_gib=-1"], r"^executor.memory_gib: found -1.0, expected more than 0$"),
        (["executor.name=parallel"], r"^executor.name: found 'parallel', expected one of: serial, isolated$"),
        (["+executor.limit_s=3"], r"^executor.*limit_s"),
    ],
)
def test_mistakes_are_one_line(overrides: list[str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        composed(*overrides)


def test_options_are_named_in_the_table_of_contents() -> None:
    options = sorted(path.stem for path in (conf_dir() / "executor").iterdir())
    text = (Path(conf_dir()) / "search.yaml").read_text()
    assert "executor: serial # serial | isolated" in text
    assert options == ["isolated", "serial"]
    assert OmegaConf.load(conf_dir() / "executor" / "serial.yaml") == {"name": "serial"}
