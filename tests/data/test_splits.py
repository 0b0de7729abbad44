"""Meta splits and what leaks across them, on sources small enough to count by hand."""

from typing import Any

import pytest

from vseg_nas.data import LeakReport, MetaSplit, leak_report, meta_split
from vseg_nas.errors import ConfigError, DataError

CAMVID = (62, 101, 68, 120, 16)


@pytest.mark.parametrize(("clips", "train"), [(357, 321), (362, 325), (10, 9), (2, 1)])
def test_random_deals_every_clip_once(made_up: Any, clips: int, train: int) -> None:
    source = made_up([clips], length=1)
    split = meta_split(source)
    assert len(split.train) == train
    assert sorted(split.train + split.val) == list(range(clips))


def test_seeds_decide(made_up: Any) -> None:
    source = made_up(CAMVID)
    assert meta_split(source, seed=1) == meta_split(source, seed=1)
    assert meta_split(source, seed=1) != meta_split(source, seed=2)
    chosen = {meta_split(source, mode="by_sequence", seed=seed).val for seed in range(20)}
    assert len(chosen) > 1


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("fraction", [0.05, 0.1, 0.5, 0.95])
def test_by_run_keeps_runs_whole(made_up: Any, seed: int, fraction: float) -> None:
    source = made_up(CAMVID)
    split = meta_split(source, fraction, "by_sequence", seed)
    assert sorted(split.train + split.val) == list(range(357))
    assert split.train
    assert split.val
    assert not {source.sequences[i] for i in split.train} & {source.sequences[i] for i in split.val}
    report = leak_report(source, split)
    assert (report.sharing_frame, report.near, report.sharing_sequence) == (0, 0, 0)


def test_by_run_comes_close_where_runs_are_short(made_up: Any) -> None:
    source = made_up([5] * 40)
    for seed in range(5):
        assert len(meta_split(source, 0.1, "by_sequence", seed).val) == 12


def test_by_run_takes_the_smallest_where_all_are_too_long(made_up: Any) -> None:
    source = made_up([30, 20, 40], length=1)
    split = meta_split(source, 0.05, "by_sequence")
    assert {source.sequences[i] for i in split.val} == {"run1"}


def test_leaks_counted_by_hand(made_up: Any) -> None:
    source = made_up([12, 3], length=3)
    split = MetaSplit(train=(0, 1), val=(2, 3, 4, 8, 10))
    # train holds frames 0 to 3 of run0; val the frames 2-4, 3-5, 4-6 and 8-10 of run0, and run1
    report = leak_report(source, split, distance=2)
    assert report == LeakReport(val=5, sharing_frame=2, near=3, sharing_sequence=4, distance=2)
    assert leak_report(source, split, distance=5).near == 4
    assert report.summary() == (
        "of 5 validation clips 2 share a frame with training clips, 3 are within 2 frames of one, 4 share a sequence"
    )


def test_random_leaks_on_video(made_up: Any) -> None:
    source = made_up(CAMVID)
    report = leak_report(source, meta_split(source))
    assert report.val == 36
    assert report.sharing_frame > 30


def test_mistakes(made_up: Any) -> None:
    with pytest.raises(ConfigError, match="use random"):
        meta_split(made_up([9]), mode="by_sequence")
    for fraction in (0, 1, -0.1):
        with pytest.raises(ConfigError, match="fraction"):
            meta_split(made_up([9]), fraction)
    with pytest.raises(DataError, match="found 1 clips"):
        meta_split(made_up([3]))
