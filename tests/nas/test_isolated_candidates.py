"""Real candidates in a child process, from the features on disk."""

import dataclasses
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch
from torch import nn

import vseg_nas.assembly.candidate_executors
from tests.builders import composed
from tests.nas.isolated_search import search
from vseg_nas.assembly.candidate_executors import CandidateFactory, build_ray_executor
from vseg_nas.assembly.meta_features import MetaFeatures
from vseg_nas.assembly.search_plan import SearchPlan
from vseg_nas.cli.typed_config import typed_config
from vseg_nas.data.feature_cache import CacheKey, StaticFeatures, map_cache, write_cache
from vseg_nas.nas.executors.isolated import IsolatedExecutor
from vseg_nas.nas.executors.settings import IsolatedSettings, RaySettings
from vseg_nas.nas.executors.supervisor import useful_workers
from vseg_nas.nas.pruners import NoPruner
from vseg_nas.nas.settings import Budget, GeometricMeanSettings
from vseg_nas.nas.strategies.random import RandomSearch
from vseg_nas.nas.trial import Trial
from vseg_nas.schema import SearchConfig
from vseg_nas.space import SearchSpace
from vseg_nas.training.device import Device, open_device
from vseg_nas.training.settings import CellTraining


@pytest.fixture
def factory(make_features: Any, tmp_path: Path) -> CandidateFactory:
    torch.manual_seed(0)
    caches = []
    for seed, clips in ((0, 4), (1, 2)):
        key = CacheKey("weights", f"clips {seed}", "transform", "fp32")
        features = make_features(clips=clips, seed=seed)
        write_cache(tmp_path, key, (features.take(torch.tensor([i])) for i in range(clips)), clips)
        caches.append(tmp_path / key.digest)
    device = Device(threads=torch.get_num_threads())
    classifier = nn.Conv2d(64, 4, 3, padding=1)
    return CandidateFactory(
        device, (caches[0], caches[1]), classifier, CellTraining(epochs=6, batch_size=2), GeometricMeanSettings()
    )


@pytest.mark.long
def test_real_candidates_in_children_are_those_in_process(factory: CandidateFactory, tmp_path: Path) -> None:
    space = SearchSpace(2, 8)
    serial, isolated = (search(tmp_path, factory, how, 3, space) for how in ("serial", "isolated"))
    assert untimed(isolated[0]) == untimed(serial[0])
    assert isolated[1] == serial[1]
    assert len({trial.reward for trial in serial[0]}) == 3
    for cache in factory.arrays():  # Ray shares what pickle hands over beside its bytes, one copy a machine
        beside: list[pickle.PickleBuffer] = []
        assert len(pickle.dumps(cache, protocol=5, buffer_callback=beside.append)) < 10_000
        assert len(beside) == len(cache)


def test_workers_that_share_a_device_put_on_it_what_fits_their_share(
    factory: CandidateFactory, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[tuple[int, float]] = []

    def place(splits: Sequence[StaticFeatures], device: torch.device, share: float = 1.0) -> list[StaticFeatures]:
        asked.append((len(splits), share))
        return list(splits)

    monkeypatch.setattr(vseg_nas.assembly.candidate_executors, "to_device_if_room", place)
    overrides = ["gpu=cpu", "executor=ray", "executor.gpus_per_candidate=0.25"]
    config = typed_config(composed("search", *overrides), SearchConfig)
    on_ray = dataclasses.replace(factory, device=open_device(config.gpu))
    assert isinstance(config.executor, RaySettings)
    handed_on = build_ray_executor(config.executor, on_ray, NoPruner(), batch=1)._factory
    handed_on(NoPruner(), tmp_path)
    factory(NoPruner(), tmp_path)
    assert asked == [(2, 0.25), (2, 1.0)]


@pytest.mark.parametrize(
    ("batch", "threads", "workers", "expected"), [(4, None, 2, 2), (4, 3, 2, 3), (1, None, 1, None), (4, None, 8, 1)]
)
def test_workers_share_the_cores_and_the_device_unless_threads_are_set(
    factory: CandidateFactory,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    batch: int,
    threads: int | None,
    workers: int,
    expected: int | None,
) -> None:
    monkeypatch.setattr(torch, "get_num_threads", lambda: 4)
    train, val = map(map_cache, factory.caches)
    features = MetaFeatures(train, val, factory.caches, factory.classifier)
    plan = SearchPlan(
        RandomSearch(SearchSpace(2), 0),
        NoPruner(),
        factory.training,
        dataclasses.replace(factory.device, threads=threads),
        IsolatedSettings(workers=workers),
        GeometricMeanSettings(),
        seed=0,
        budget=Budget(1),
        batch=batch,
    )
    executor = plan.build_executor(features, tmp_path)
    assert isinstance(executor, IsolatedExecutor)
    sent: CandidateFactory = pickle.loads(executor._factory)
    useful = min(workers, batch)
    assert (sent.device.threads, sent.share, executor._workers_wanted) == (expected, 1 / useful, useful)


def test_workers_that_a_batch_has_no_use_for_are_said(caplog: pytest.LogCaptureFixture) -> None:
    assert useful_workers(4, None) == useful_workers(4, 9) == 4
    assert caplog.messages == []
    assert useful_workers(4, 1) == 1
    assert caplog.messages == ["executor.workers: 3 of 4 stay unused, for phase.search.batch=1"]


def untimed(trials: list[Trial]) -> list[Trial]:
    evaluations = [trial.evaluation and dataclasses.replace(trial.evaluation, seconds=0.0) for trial in trials]
    return [dataclasses.replace(t, evaluation=e) for t, e in zip(trials, evaluations, strict=True)]


def test_mapped_features_are_the_cached_ones_and_no_data_of_the_process(make_features: Any, tmp_path: Path) -> None:
    features = make_features(clips=120, size=(96, 128))
    key = CacheKey("weights", "clips", "transform", "fp32")
    write_cache(tmp_path, key, (features.take(torch.tensor([i])) for i in range(120)), 120)
    size = sum(array.nbytes for array in features.arrays().values())
    assert size > 20e6
    before = psutil.Process().memory_info().data
    mapped = map_cache(tmp_path / key.digest)
    assert psutil.Process().memory_info().data - before < size / 4
    assert all(torch.equal(array, features.arrays()[name]) for name, array in mapped.arrays().items())
    assert mapped.flow is None
