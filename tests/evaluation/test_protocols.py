"""Both protocols against a labeller whose answers are known, on runs made by hand."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from vseg_nas.data import RawClip, resized
from vseg_nas.data.clip import Colour
from vseg_nas.errors import DataError
from vseg_nas.evaluation.protocols import rolling_refusal, runs_of, score_pairs, score_runs
from vseg_nas.models.video import VideoSegmenter

CPU = torch.device("cpu")
HEIGHT, WIDTH = 16, 20


class Runs:
    """Runs of frames whose truth is random and whose colour is their number in the run."""

    classes: tuple[str, ...] = ("zero", "one")
    palette: tuple[Colour, ...] = ((0, 0, 0), (255, 255, 255))
    frame_seconds: float | None = 0.1

    def __init__(self, lengths: Sequence[int], length: int, unlabelled: Sequence[tuple[int, int]] = ()) -> None:
        places = [(run, t) for run, frames in enumerate(lengths) for t in range(frames - length + 1)]
        self.length = length
        self.runs = tuple(f"run{run}" for run, _ in places)
        self.frame_ids: tuple[tuple[int, ...], ...] = tuple(tuple(range(t, t + length)) for _, t in places)
        self._places = places
        self._unlabelled = unlabelled

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> RawClip:
        run, first = self._places[index]
        steps = range(first, first + self.length)
        frames = tuple(np.full((HEIGHT, WIDTH, 3), t, np.uint8) for t in steps)
        return RawClip(frames, tuple(self.truth(run, t) for t in steps), tuple(f"{run}_{t}" for t in steps))

    def truth(self, run: int, t: int) -> NDArray[np.uint8]:
        if (run, t) in self._unlabelled:
            return np.full((HEIGHT, WIDTH), 255, np.uint8)
        return np.random.default_rng((run, t)).integers(0, 2, (HEIGHT, WIDTH)).astype(np.uint8)

    def fingerprint(self) -> str:
        return "made up"


class Counting(VideoSegmenter):
    """Labels everything 1 on key frames and 0 on others, and remembers what it was asked."""

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.asked: list[int] = []
        self._since = -1

    @property
    def distance(self) -> int:
        return self._since

    def reset(self) -> "Counting":
        self._since = -1
        return self

    def step(self, frame: Tensor, key: bool = False, size: tuple[int, int] | None = None) -> Tensor:
        self._since = 0 if key or self._since < 0 else self._since + 1
        self.asked.append(self._since)
        assert size in (None, (HEIGHT, WIDTH))
        return torch.full(size or frame.shape[-2:], int(self._since == 0))


def iou(truths: list[NDArray[np.uint8]], prediction: int) -> float:
    """mIoU of two classes where one of them is predicted everywhere."""
    labelled = np.concatenate([truth[truth != 255] for truth in truths])
    return float((labelled == prediction).mean() / 2)


def nothing() -> None:
    pass


def test_runs_are_put_in_order() -> None:
    source = Runs((3, 1, 2), 1)
    assert [[source.frame_ids[i][0] for i in run] for run in runs_of(source)] == [[0, 1, 2], [0], [0, 1]]
    assert [{source.runs[i] for i in run} for run in runs_of(source)] == [{"run0"}, {"run1"}, {"run2"}]


def test_pairs_score_the_frame_after_a_key_frame() -> None:
    source, labeller = Runs((4, 2), 2), Counting()
    ticks: list[int] = []
    found = score_pairs(labeller, source, resized(), CPU, lambda: ticks.append(1))
    assert labeller.asked == [0, 1] * 4
    truths = [source.truth(0, 1), source.truth(0, 2), source.truth(0, 3), source.truth(1, 1)]
    assert found.scores.miou == pytest.approx(iou(truths, 0))
    assert found.miou_per_frame == pytest.approx([iou([truth], 0) for truth in truths])
    assert len(ticks) == len(source)


@pytest.mark.parametrize(
    ("key_every", "asked"),
    [
        (1, [0, 0, 0, 0, 0, 0, 0]),
        (2, [0, 1, 0, 1, 0, 0, 1]),
        (3, [0, 1, 2, 0, 1, 0, 1]),
        (None, [0, 1, 2, 3, 4, 0, 1]),
    ],
)
def test_runs_get_a_key_frame_every_so_often(key_every: int | None, asked: list[int]) -> None:
    source, labeller = Runs((5, 2), 1), Counting()
    found = score_runs(labeller, source, resized(), key_every, CPU, nothing)
    assert labeller.asked == asked
    places = [(0, t) for t in range(5)] + [(1, 0), (1, 1)]
    for entry in found.by_distance:
        truths = [source.truth(*place) for place, d in zip(places, asked, strict=True) if d == entry.distance]
        assert entry.frames == len(truths)
        assert entry.miou == pytest.approx(iou(truths, int(entry.distance == 0)))
    assert [entry.distance for entry in found.by_distance] == sorted(set(asked))
    mious = [entry.miou for entry in found.by_distance]
    assert found.average == pytest.approx(np.mean(mious))
    assert found.minimum == min(mious)
    truth = np.stack([source.truth(*place) for place in places])
    labels = np.stack([np.full((HEIGHT, WIDTH), int(d == 0)) for d in asked])
    ious = [((truth == c) & (labels == c)).sum() / ((truth == c) | (labels == c)).sum() for c in (0, 1)]
    assert found.scores.miou == pytest.approx(np.mean(ious))


def test_long_distances_are_put_together() -> None:
    found = score_runs(Counting(), Runs((20,), 1), resized(), None, CPU, nothing)
    assert {entry.distance: entry.frames for entry in found.by_distance} == dict.fromkeys(range(9), 1) | {9: 8, 17: 3}


def test_consistency_of_constant_labels() -> None:
    """Pixels whose truth is 0 over a window are labelled right all the time, once the key frame is over."""
    source = Runs((12,), 1)
    found = score_runs(Counting(), source, resized(), None, CPU, nothing).consistency
    truth = np.stack([source.truth(0, t) for t in range(12)])
    shares = []
    for start in range(5):
        window = truth[start : start + 8]
        constant = (window == window[0]).all(0)
        if constant.any():
            right = constant & (window[0] == 0) & (start > 0)
            shares.append(right.sum() / constant.sum())
    assert found["vc8"].correct == pytest.approx(np.mean(shares))
    assert found["vc16"].refused == "VC16 needs a run of more than 16 successive frames, and the longest has 12"
    assert found["tc"].flow == "DIS (OpenCV)"
    assert found["tc"].windows == 11


def test_consistency_is_refused_with_a_reason() -> None:
    source = Runs((12,), 1, unlabelled=[(0, 3)])
    found = score_runs(Counting(), source, resized(), 5, CPU, nothing)
    assert "only some frames are labelled" in str(found.consistency["vc8"].refused)
    assert found.consistency["tc"].refused is None
    assert sum(entry.frames for entry in found.by_distance) == 11  # the unlabelled frame does not count


def test_frames_far_apart_have_no_consistency() -> None:
    source = Runs((12,), 1)
    source.frame_seconds = 1.0
    found = score_runs(Counting(), source, resized(), 5, CPU, nothing).consistency
    assert all("they are 1 s apart" in str(found[name].refused) for name in ("vc8", "vc16", "tc"))


def test_a_missing_frame_ends_a_run() -> None:
    source = Runs((4,), 1)
    source.frame_ids = ((19,), (20,), (294,), (576,))  # as numbered in one long drive of CityScapes
    assert runs_of(source) == [[0, 1], [2], [3]]
    source.frame_ids = ((19,), (119,), (294,), (576,))
    assert rolling_refusal(source) == "no two successive frames are labelled"


def test_single_frames_cannot_be_rolled() -> None:
    source = Runs((1, 1), 1)
    assert rolling_refusal(source) == "no two successive frames are labelled"
    with pytest.raises(DataError, match="no two successive frames"):
        score_runs(Counting(), source, resized(), 2, CPU, nothing)
