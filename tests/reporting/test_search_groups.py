from pathlib import Path

import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf

from tests.builders import scored, seal
from tests.fixtures import WriteSearch
from vseg_nas.cli.composition import conf_dir
from vseg_nas.errors import ConfigError, DataError
from vseg_nas.figures.search_curves import draw_reward_bands, reward_band
from vseg_nas.nas.trial import Trial, TrialState
from vseg_nas.reporting.opened_runs import open_runs
from vseg_nas.reporting.search_tables import group_searches
from vseg_nas.runs.digests import STATIC_DIGEST_FILE
from vseg_nas.runs.record import CONFIG, flat, write_record
from vseg_nas.runs.resume import check_same_meaning
from vseg_nas.schema import SearchConfig
from vseg_nas.space import Genotype, Layer

CELL = Genotype((Layer(0, 1, 0, 5, 1),))
PPO = {"strategy.name": "ppo", "strategy.feedback": "hidden", "dataset.name": "camvid", "phase.search.epochs": 20}
RANDOM = {"strategy.name": "random", "dataset.name": "camvid", "phase.search.epochs": 20}


def search(*scores: float | None) -> list[Trial]:
    return [scored(CELL, score, i) for i, score in enumerate(scores)]


def test_searches_that_differ_in_nothing_that_matters_are_one_group() -> None:
    configs = [
        PPO | {"seed": 0, "name": "a", "phase.search.trials": 10, "gpu.name": "cpu"},
        RANDOM | {"seed": 0},
        PPO | {"seed": 1, "name": "b", "phase.search.trials": 20, "gpu.name": "auto"},
    ]
    ppo, uniform = group_searches(configs)
    assert (ppo.name, ppo.strategy, ppo.dataset, ppo.differs, ppo.members) == (
        "ppo on CamVid",
        "ppo",
        "CamVid",
        "",
        (0, 2),
    )
    assert (uniform.name, uniform.members) == ("random on CamVid", (1,))


SERIAL = {"executor": {"name": "serial"}}
RAY = {"executor": {"name": "ray", "mode": "async", "workers": 2}}
SAME_MEANING = {  # what docs/reliability.md promises to be free on a resume: budget, logger, device and executor
    "executor": (SERIAL, RAY),
    "isolated executor": (SERIAL, {"executor": {"name": "isolated", "limit_s": 60.0}}),
    "budget": ({"phase": {"search": {"trials": 10, "hours": None}}}, {"phase": {"search": {"trials": 20, "hours": 1}}}),
    "logger": ({"logger": {"name": "none"}}, {"logger": {"name": "auto", "project": "p"}}),
    "device": ({"gpu": {"name": "cpu", "accelerator": "cpu"}}, {"gpu": {"name": "one", "accelerator": "auto"}}),
    "devices and workers": ({"gpu": {"devices": 1, "workers": 0}}, {"gpu": {"devices": 2, "workers": 4}}),
    "place and name": ({"runs_dir": "a", "name": "x", "debug": False}, {"runs_dir": "b", "name": "y", "debug": True}),
}
OTHER_MEANING = {
    "epochs": ({"phase": {"search": {"epochs": 5}}}, {"phase": {"search": {"epochs": 6}}}),
    "reward": ({"reward": {"failed": None}}, {"reward": {"failed": 0.0}}),
    "a key that begins like a free one": ({"names": 1}, {"names": 2}),
}


@pytest.mark.parametrize(("case", "same"), [*((c, True) for c in SAME_MEANING), *((c, False) for c in OTHER_MEANING)])
def test_what_may_change_on_a_resume_may_differ_within_a_group(tmp_path: Path, case: str, same: bool) -> None:
    search = OmegaConf.create({"strategy": {"name": "ppo"}, "dataset": {"name": "camvid"}})
    one, other = (OmegaConf.merge(search, part) for part in (SAME_MEANING | OTHER_MEANING)[case])
    write_record(tmp_path, OmegaConf.to_yaml(one), [])
    configs = [flat(OmegaConf.to_container(config)) for config in (one, other)]
    assert len(group_searches(configs)) == (1 if same else 2)
    assert isinstance(other, DictConfig)
    if same:
        check_same_meaning(tmp_path, other, SearchConfig)
    else:
        with pytest.raises(ConfigError, match="resume: the configuration changed its meaning"):
            check_same_meaning(tmp_path, other, SearchConfig)


def test_seeds_run_by_different_executors_are_one_group() -> None:
    configs = [PPO | {"seed": seed, "executor.name": name} for seed, name in enumerate(("serial", "ray", "isolated"))]
    (group,) = group_searches(configs)
    assert group.members == (0, 1, 2)


def test_seeds_of_one_search_run_in_different_ways_are_one_curve_of_figure_3() -> None:
    """Whole configurations, with all keys that an executor, a device and a folder bring along."""
    ways = (
        ["executor=serial", "gpu=cpu"],
        ["executor=isolated", "executor.workers=2", "gpu=auto", "gpu.threads=1", "debug=true"],
        ["executor=ray", "executor.mode=async", "gpu=one", "dataset.root=/data", "logger=none"],
    )
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        composed = [
            compose("search", ["dataset=camvid", f"seed={seed}", f"name=run{seed}", *way])
            for seed, way in enumerate(ways)
        ]
    configs = [flat(OmegaConf.to_container(config, resolve=True)) for config in composed]
    (group,) = group_searches(configs)
    assert group.members == (0, 1, 2)
    figure = draw_reward_bands({group.name: [search(0.2, 0.4), search(0.3, 0.5), search(0.1)]})
    assert [line.get_label() for line in figure.axes[0].lines] == ["ppo on CamVid (3 seeds)"]


@pytest.mark.parametrize(
    ("notes", "members"),
    [
        (("a" * 64, "a" * 64), [(0, 1)]),
        (("a" * 64, "b" * 64), [(0,), (1,)]),  # the same path may hold another network by now
        ((None, None), [(0,), (1,)]),  # nothing but the path is known
        (("a" * 64, None), [(0,), (1,)]),
    ],
)
def test_searches_of_one_static_network_are_one_group_wherever_it_lies(
    write_search: WriteSearch, notes: tuple[str | None, str | None], members: list[tuple[int, ...]]
) -> None:
    runs = [write_search(name, search(0.2), seed=seed) for seed, name in enumerate("ab")]
    for run, note in zip(runs, notes, strict=True):
        config = OmegaConf.load(run / CONFIG)
        OmegaConf.update(config, "static.weights", f"{run}/static.safetensors")
        OmegaConf.save(config, run / CONFIG)
        seal(run)
        if note is not None:
            (run / STATIC_DIGEST_FILE).write_text(note)
    groups = group_searches([run.config for run in open_runs(runs).searches])
    assert [group.members for group in groups] == members
    if notes[0] and notes[0] != notes[1] and notes[1]:
        assert [group.differs for group in groups] == ["weights aaaaaaaaaaaa", "weights bbbbbbbbbbbb"]


def test_a_damaged_digest_of_the_static_network_is_named(write_search: WriteSearch) -> None:
    run = write_search("a", search(0.2))
    (run / STATIC_DIGEST_FILE).write_text("odd")
    with pytest.raises(DataError, match=r"static\.sha256: found b'odd', expected the SHA-256 of the static network"):
        open_runs([run])


def test_groups_of_one_strategy_are_named_by_what_differs() -> None:
    configs = [PPO, PPO | {"strategy.feedback": "token"}, PPO | {"phase.search.epochs": 5}, RANDOM]
    groups = group_searches(configs)
    assert {group.name: group.members for group in groups} == {
        "ppo on CamVid, epochs 20, feedback hidden": (0,),
        "ppo on CamVid, epochs 20, feedback token": (1,),
        "ppo on CamVid, epochs 5, feedback hidden": (2,),
        "random on CamVid": (3,),
    }
    assert [group.differs for group in groups][1:] == ["epochs 20, feedback token", "epochs 5, feedback hidden", ""]


def test_a_band_by_hand() -> None:
    band = reward_band([search(0.2, 0.4, 0.6, 0.8), search(0.4, 0.4, 0.1)], window=2)
    assert band.candidates == (0, 1, 2)  # the second search ends there
    assert band.mean == pytest.approx((0.3, 0.35, 0.375))  # of running means .2 .3 .5 and .4 .4 .25
    assert band.low == pytest.approx((0.2, 0.3, 0.25))
    assert band.high == pytest.approx((0.4, 0.4, 0.5))
    assert band.searches == 2


def test_a_failed_candidate_leaves_the_running_mean_as_it_was() -> None:
    band = reward_band([search(None, 0.2, None, 0.4)], window=10)
    assert band.candidates == (1, 2, 3)  # nothing is known before the first score
    assert band.mean == pytest.approx((0.2, 0.2, 0.3))


def test_running_trials_are_not_candidates_yet() -> None:
    running = Trial(1, CELL, seed=1, state=TrialState.RUNNING)
    assert reward_band([[*search(0.5), running]], window=2).candidates == (0,)
