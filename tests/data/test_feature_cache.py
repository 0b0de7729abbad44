"""The cache is whole and right, or not there."""

import errno
import logging
import os
import re
from collections.abc import Iterator
from operator import itemgetter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from vseg_nas.data import feature_cache
from vseg_nas.data.feature_cache import CacheKey, StaticFeatures, open_cache, write_cache
from vseg_nas.errors import DataError, RunError

KEY = CacheKey("weights", "clips", "transform", "fp32")
HALF = KEY._replace(precision="fp16")


def one_by_one(features: StaticFeatures) -> Iterator[StaticFeatures]:
    for index in range(features.clips):
        yield features.map(itemgetter(slice(index, index + 1)))


def opened(root: Path, key: CacheKey = KEY) -> StaticFeatures:
    features = open_cache(root, key)
    assert features is not None
    return features


def same(one: StaticFeatures, other: StaticFeatures) -> bool:
    pairs = zip(one.arrays().items(), other.arrays().items(), strict=True)
    return all(n == m and a.dtype == b.dtype and torch.equal(a, b) for (n, a), (m, b) in pairs)


@pytest.fixture
def features(make_features: Any) -> StaticFeatures:
    made: StaticFeatures = make_features(clips=3)
    return made


@pytest.fixture
def root(tmp_path: Path, features: StaticFeatures) -> Path:
    write_cache(tmp_path, KEY, one_by_one(features), features.clips)
    return tmp_path


def test_round_trip(root: Path, features: StaticFeatures) -> None:
    assert same(opened(root), features)
    assert [folder.name for folder in root.iterdir()] == [KEY.digest]


def test_channels_lie_innermost_in_files_and_batches(root: Path, features: StaticFeatures) -> None:
    stored = np.load(root / KEY.digest / "layer3.npy")
    assert np.array_equal(stored, features.layer3.permute(0, 1, 3, 4, 2))
    for source in (features, opened(root)):  # however they lie
        taken = source.take(torch.tensor([2, 0]))
        assert same(taken, features.map(lambda array: array[[2, 0]]))
        assert taken.key_dec.is_contiguous(memory_format=torch.channels_last)
        assert taken.layer2[0].is_contiguous(memory_format=torch.channels_last)


def test_half_precision_rounds_features_and_no_mask(tmp_path: Path, features: StaticFeatures) -> None:
    write_cache(tmp_path, HALF, one_by_one(features), features.clips)
    found = opened(tmp_path, HALF)
    assert same(found, features.map(Tensor.half)._replace(masks=features.masks, frame_size=features.frame_size))
    taken = found.take(torch.tensor([2, 0]))
    assert {n: a.dtype for n, a in taken.arrays().items()} == dict.fromkeys(KEY.fields, torch.float32) | {
        "masks": torch.uint8,
        "frame_size": torch.int64,
    }
    assert torch.equal(taken.layer3, features.layer3.half().float()[[2, 0]])
    assert torch.equal(taken.masks, features.masks[[2, 0]])


def test_memory_mapped_is_the_same(root: Path, features: StaticFeatures, monkeypatch: pytest.MonkeyPatch) -> None:
    modes: list[str | None] = []
    load = np.load

    def spy(path: Path, mmap_mode: Any = None) -> Any:
        modes.append(mmap_mode)
        return load(path, mmap_mode=mmap_mode)

    monkeypatch.setattr(np, "load", spy)
    in_memory = opened(root)
    assert modes == [None] * 8
    monkeypatch.setattr(feature_cache, "_MEMORY_SHARE", 0.0)
    mapped = opened(root)
    assert modes[8:] == ["c"] * 8
    assert same(mapped, in_memory)
    indices = torch.tensor([1, 1, 0])
    assert same(mapped.take(indices), features.take(indices))
    mapped.layer2.zero_()  # private pages: never written through
    assert same(opened(root), features)


def test_another_key_is_another_cache(root: Path) -> None:
    for field in ("weights", "clips", "transform", "precision"):
        assert open_cache(root, KEY._replace(**{field: "other"})) is None  # type: ignore[arg-type]
    assert open_cache(root, KEY._replace(flow=True)) is None
    assert open_cache(root / "nowhere", KEY) is None
    opened(root)


@pytest.mark.parametrize("name", [*KEY.fields, "manifest"])
@pytest.mark.parametrize("damage", ["changed", "removed"])
def test_damaged_is_moved_aside(root: Path, caplog: pytest.LogCaptureFixture, name: str, damage: str) -> None:
    path = next((root / KEY.digest).glob(f"{name}.*"))
    if damage == "removed":
        path.unlink()
    else:
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        assert open_cache(root, KEY) is None
    assert [record.levelname for record in caplog.records] == ["WARNING"]
    if name != "manifest" or damage == "removed":  # a changed digest accuses the array
        assert path.name in caplog.text
    aside = root / f"{KEY.digest}.corrupt"
    assert str(aside) in caplog.text
    assert [folder.name for folder in root.iterdir()] == [aside.name]
    assert open_cache(root, KEY) is None  # not there any more, and not moved again
    assert len(caplog.records) == 1


def test_damaged_is_built_anew(root: Path, features: StaticFeatures) -> None:
    for _ in range(2):  # the second time a folder of that name is aside already
        (root / KEY.digest / "masks.npy").unlink()
        assert open_cache(root, KEY) is None
        write_cache(root, KEY, one_by_one(features), features.clips)
        assert same(opened(root), features)


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError("no space left")])
def test_interrupted_leaves_nothing(tmp_path: Path, features: StaticFeatures, error: BaseException) -> None:
    def clips() -> Iterator[StaticFeatures]:
        yield next(one_by_one(features))
        raise error

    with pytest.raises(type(error)):
        write_cache(tmp_path, KEY, clips(), features.clips)
    assert list(tmp_path.iterdir()) == []


def test_two_searches_may_write_the_same_cache(tmp_path: Path, features: StaticFeatures) -> None:
    def overtaken(another_process: int) -> Iterator[StaticFeatures]:
        yield from one_by_one(features)
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(os, "getpid", lambda: another_process)
            write_cache(tmp_path, KEY, one_by_one(features), features.clips)

    write_cache(tmp_path, KEY, overtaken(-1), features.clips)
    assert same(opened(tmp_path), features)
    assert [folder.name for folder in tmp_path.iterdir()] == [KEY.digest]


def test_clips_of_unequal_size_are_refused(tmp_path: Path, make_features: Any) -> None:
    clips = [make_features(clips=1), make_features(clips=1, size=(48, 96))]
    with pytest.raises(DataError, match="clip 1: features of size"):
        write_cache(tmp_path, KEY, iter(clips), 2)
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_found_out_before_anything_is_mapped(
    tmp_path: Path, features: StaticFeatures, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*args: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(
        RunError, match=r"npy: cannot be written \(No space left on device\): found \S+ [GT]iB"
    ) as found:
        write_cache(tmp_path, KEY, iter([features.take(torch.tensor([0]))]), 1)
    assert re.search(r"expected [1-9]\S* KiB for cached features$", str(found.value))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("target", ["open_memmap", "write_text"])
def test_whatever_of_a_cache_finds_no_room_is_named(
    tmp_path: Path, features: StaticFeatures, monkeypatch: pytest.MonkeyPatch, target: str
) -> None:
    def full(*args: object, **options: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np.lib.format if target == "open_memmap" else Path, target, full)
    expected = rf"{KEY.digest}: cannot be written \(No space left on device\)"
    with pytest.raises(RunError, match=expected):
        write_cache(tmp_path, KEY, iter([features.take(torch.tensor([0]))]), 1)
    assert list(tmp_path.iterdir()) == []


def test_optical_flow_is_kept_where_it_was_asked_for(tmp_path: Path, features: StaticFeatures) -> None:
    key = KEY._replace(flow=True)
    with_flow = features._replace(flow=torch.randn(3, 2, 2, 6, 8))
    write_cache(tmp_path, key, one_by_one(with_flow), 3)
    found = opened(tmp_path, key)
    assert same(found, with_flow)
    taken = found.take(torch.tensor([1]))
    assert taken.flow is not None
    assert with_flow.flow is not None
    assert torch.equal(taken.flow, with_flow.flow[1:2])
