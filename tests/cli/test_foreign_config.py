"""A recorded configuration with values of other kinds in it: each is a line that names the key, never a traceback."""

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf

from tests.builders import composed, scored, store_trials
from vseg_nas.assembly.cells import resolve_cell
from vseg_nas.cli.typed_config import stored_config, typed_config
from vseg_nas.errors import ConfigError, RunError, UserError
from vseg_nas.reporting.opened_runs import open_runs
from vseg_nas.runs.record import write_record
from vseg_nas.runs.resume import check_same_meaning
from vseg_nas.schema import SearchConfig
from vseg_nas.space import SearchSpace

ODD = (None, -(2**60), "x" * 4000, "a\0b", "???", [[1]], {"name": {"a": 1}})
GROUPS = ("dataset", "phase", "gpu", "strategy", "executor")
LEAVES = ("name", "seed", "dataset.size", "dataset.name", "space.width", "phase.search.transform")


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    found: Any = OmegaConf.to_container(composed("search", "name=a"), resolve=True)
    return dict(found)


def changed(plain: dict[str, Any], key: str) -> Iterator[dict[str, Any]]:
    for odd in ODD:
        data = node = copy.deepcopy(plain)
        *above, last = key.split(".")
        for name in above:
            node = node[name]
        node[last] = odd
        yield data


@pytest.mark.parametrize("key", [*GROUPS, *LEAVES])
def test_any_value_anywhere(plain: dict[str, Any], key: str) -> None:
    lines = []
    for data in changed(plain, key):
        try:
            typed_config(OmegaConf.create(data), SearchConfig)
        except UserError as error:
            lines.append(str(error))
    assert len(lines) >= len(ODD) - 2  # -(2**60) is a name, None is one of some values
    assert [line for line in lines if len(line.splitlines()) != 1 or len(line) >= 400] == []


def test_a_configuration_of_an_older_run_lacks_only_the_keys_that_came_later(plain: dict[str, Any]) -> None:
    older = copy.deepcopy(plain)
    for group in (older["gpu"], older["strategy"], older["pruner"], older["reward"], older["phase"]["search"]):
        for later in ("devices", "reference"):
            group.pop(later, None)
    assert typed_config(OmegaConf.create(older), SearchConfig) == typed_config(OmegaConf.create(plain), SearchConfig)
    for key in ("strategy.clip", "phase.search.epochs"):  # although they have defaults for callers from Python
        broken = OmegaConf.create(plain)
        group, _, name = key.rpartition(".")
        del OmegaConf.select(broken, group)[name]
        with pytest.raises(ConfigError, match=f"^{key}: not set, expected a value$"):
            typed_config(broken, SearchConfig)


def test_a_search_of_before_with_old_keys_is_read_by_report_and_refused_by_others(
    plain: dict[str, Any], tmp_path: Path
) -> None:
    older = copy.deepcopy(plain)
    older["stopping"] = older.pop("pruner")
    write_record(tmp_path, OmegaConf.to_yaml(OmegaConf.create(older)), ["stopping=halfway"])
    store_trials(tmp_path, [scored(SearchSpace(1).genotype([0, 1, 0, 0, 0]), 0.5)])
    (search,) = open_runs([tmp_path]).searches
    assert search.config["stopping.name"] == "halfway"
    with pytest.raises(RunError, match=r"^.*config\.yaml: pruner: not set, expected a value$"):
        stored_config(tmp_path, SearchConfig, "search")
    now = OmegaConf.create(plain)
    changed_meaning = "pruner.name was None, is halfway; .*; stopping.name was halfway, is None$"
    with pytest.raises(ConfigError, match=f"^resume: the configuration changed its meaning: {changed_meaning}"):
        check_same_meaning(tmp_path, now, SearchConfig)


RANKS = (
    "0",
    "-1",
    "1.5",
    "9999999999",
    "3",
    "9" * 200,
    "",
    " 1",
    "+1",
    "1 ",
    "\N{ARABIC-INDIC DIGIT ONE}",
    "1e0",
    "one",
)


@pytest.mark.parametrize("rank", RANKS)
def test_ranks_of_a_search(tmp_path: Path, rank: str) -> None:
    cells = [SearchSpace(2).genotype([0, 1, 2, 3, 0] * 2), SearchSpace(2).genotype([1, 1, 2, 3, 0] * 2)]
    store_trials(tmp_path, [scored(cell, 0.1 * i, i) for i, cell in enumerate(cells)])
    with pytest.raises(ConfigError, match=r"cell: found rank .*, expected 1 to 2"):
        resolve_cell(f"{tmp_path}:{rank}", flow=False)
    assert [resolve_cell(f"{tmp_path}:{right}", flow=False) for right in (1, 2)] == cells[::-1]
