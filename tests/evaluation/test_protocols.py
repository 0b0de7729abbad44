"""Both protocols against a network whose predictions are known, on sequences made by hand."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from vseg_nas.data import RawClip, resized
from vseg_nas.evaluation.consistency import ConsistencyMeter, FlowStore
from vseg_nas.evaluation.protocols import roll, roll_from_counts, rolling_scores, score_pairs
from vseg_nas.evaluation.sequences import FrameIndex, sequences_of
from vseg_nas.labels import Colour
from vseg_nas.metrics import TemporalConsistency
from vseg_nas.models.video_segmenter import VideoSegmenter
from vseg_nas.results.scores import AnyConsistency, Consistency, NotMeasured, RollingScores

CPU = torch.device("cpu")
HEIGHT, WIDTH = 16, 20


class Sequences:
    """Sequences whose truth is random and whose frames have the colour of their number."""

    classes: tuple[str, ...] = ("zero", "one")
    palette: tuple[Colour, ...] = ((0, 0, 0), (255, 255, 255))
    frame_seconds: float | None = 0.1

    def __init__(self, lengths: Sequence[int], length: int, unlabelled: Sequence[tuple[int, int]] = ()) -> None:
        places = [(run, t) for run, frames in enumerate(lengths) for t in range(frames - length + 1)]
        self.length = length
        self.sequences = tuple(f"run{run}" for run, _ in places)
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

    num_classes = 2

    def __init__(self) -> None:
        torch.nn.Module.__init__(self)
        self.asked: list[int] = []
        self._since = -1

    def reset(self) -> "Counting":
        self._since = -1
        return self

    def advance(self, frame: Tensor, key: bool = False) -> None:
        self._since = 0 if key or self._since < 0 else self._since + 1
        self.asked.append(self._since)

    def labels(self, size: tuple[int, int]) -> Tensor:
        assert size == (HEIGHT, WIDTH)
        return torch.full(size, int(self._since == 0))


def iou(truths: list[NDArray[np.uint8]], prediction: int) -> float:
    """mIoU of two classes where one of them is predicted everywhere."""
    labelled = np.concatenate([truth[truth != 255] for truth in truths])
    return float((labelled == prediction).mean() / 2)


def nothing() -> None:
    pass


def rolled(labeller: Counting, source: Sequences, key_every: int | None) -> RollingScores:
    sequences = sequences_of(source).to_score(key_every)
    return rolling_scores(roll(labeller, sequences, resized(), key_every, CPU, nothing), key_every)


def consistency(labeller: Counting, source: Sequences, key_every: int | None) -> dict[str, AnyConsistency]:
    split = sequences_of(source)
    meter = ConsistencyMeter(split, FlowStore())
    roll(labeller, split.sequences, resized(), key_every, CPU, nothing, meter)
    return meter.result()


def measured(found: AnyConsistency) -> Consistency:
    assert isinstance(found, Consistency)
    return found


def reason(found: AnyConsistency) -> str:
    assert isinstance(found, NotMeasured)
    return found.skip_reason


def test_runs_are_put_in_order() -> None:
    source = Sequences((3, 1, 2), 1)
    found = [sequence.frames for sequence in sequences_of(source).sequences]
    assert [[source.frame_ids[index.clip][0] for index in frames] for frames in found] == [[0, 1, 2], [0], [0, 1]]
    assert [{source.sequences[index.clip] for index in frames} for frames in found] == [{"run0"}, {"run1"}, {"run2"}]


def test_pairs_score_the_frame_after_a_key_frame() -> None:
    source, labeller = Sequences((4, 2), 2), Counting()
    ticks: list[int] = []
    found = score_pairs(labeller, source, resized(), CPU, lambda: ticks.append(1))
    assert labeller.asked == [0, 1] * 4
    truths = [source.truth(0, 1), source.truth(0, 2), source.truth(0, 3), source.truth(1, 1)]
    assert found.scores.miou == pytest.approx(iou(truths, 0))
    assert found.miou_per_frame == pytest.approx([iou([truth], 0) for truth in truths])
    assert len(ticks) == len(source)


def test_a_pair_without_truth_has_no_score() -> None:
    found = score_pairs(Counting(), Sequences((3,), 2, unlabelled=[(0, 2)]), resized(), CPU, nothing)
    assert found.miou_per_frame[0] is not None
    assert found.miou_per_frame[1] is None


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
    source, labeller = Sequences((5, 2), 1), Counting()
    found = rolled(labeller, source, key_every)
    assert labeller.asked == asked
    places = [(0, t) for t in range(5)] + [(1, 0), (1, 1)]
    for entry in found.by_distance:
        truths = [source.truth(*place) for place, d in zip(places, asked, strict=True) if d == entry.distance]
        assert entry.frames == len(truths)
        assert entry.miou == pytest.approx(iou(truths, int(entry.distance == 0)))
    assert [entry.distance for entry in found.by_distance] == sorted(set(asked))
    mious = [entry.miou for entry in found.by_distance if entry.miou is not None]
    assert len(mious) == len(found.by_distance)
    assert found.average == pytest.approx(np.mean(mious))
    assert found.minimum == min(mious)
    truth = np.stack([source.truth(*place) for place in places])
    labels = np.stack([np.full((HEIGHT, WIDTH), int(d == 0)) for d in asked])
    ious = [((truth == c) & (labels == c)).sum() / ((truth == c) | (labels == c)).sum() for c in (0, 1)]
    assert found.miou == pytest.approx(np.mean(ious))


@pytest.mark.parametrize("length", [1, 4])
def test_a_network_that_labels_each_frame_by_itself_is_rolled_once(length: int) -> None:
    """At any K its frames count as they do alone, at the distance that the protocol sets."""
    unlabelled = [(0, 0), (0, 1), (0, 2)] if length > 1 else []
    split = sequences_of(Sequences((4,), length, unlabelled))
    alone = roll(Counting(), split.sequences, resized(), 1, CPU, nothing)
    for key_every in (1, 2, None):
        sequences = split.to_score(key_every)
        by_k = roll(Counting(), sequences, resized(), key_every, CPU, nothing)
        found = roll_from_counts(alone, sequences)
        assert [entry[:2] for entry in found] == [entry[:2] for entry in by_k]
        counts = {entry.frame: entry.counts for entry in alone}
        assert all(torch.equal(entry.counts, counts[entry.frame]) for entry in found)


def test_where_the_last_frame_alone_is_labelled_it_is_scored_at_every_distance() -> None:
    source, labeller = Sequences((4,), 4, unlabelled=[(0, 0), (0, 1), (0, 2)]), Counting()
    split = sequences_of(source)
    assert split.only_last_labelled
    expected = [tuple(FrameIndex(0, t) for t in range(start, 4)) for start in (3, 2, 1)]
    assert [sequence.frames for sequence in split.to_score(3)] == expected
    found = rolled(labeller, source, 3)
    assert labeller.asked == [0, 0, 1, 0, 1, 2]
    assert [(entry.distance, entry.frames) for entry in found.by_distance] == [(0, 1), (1, 1), (2, 1)]
    truths = [source.truth(0, 3)]
    assert [entry.miou for entry in found.by_distance] == pytest.approx(
        [iou(truths, 1), iou(truths, 0), iou(truths, 0)]
    )
    never = rolled(Counting(), source, None)
    assert [(entry.distance, entry.frames) for entry in never.by_distance] == [(3, 1)]


def test_long_distances_are_put_together() -> None:
    found = rolled(Counting(), Sequences((20,), 1), None)
    assert {entry.distance: entry.frames for entry in found.by_distance} == dict.fromkeys(range(9), 1) | {9: 8, 17: 3}


def test_frames_without_truth_do_not_count() -> None:
    found = rolled(Counting(), Sequences((12,), 1, unlabelled=[(0, 3)]), 5)
    assert sum(entry.frames for entry in found.by_distance) == 11
    with pytest.raises(ValueError, match="no frame with a truth"):
        rolling_scores([], 5)


def test_consistency_of_constant_labels() -> None:
    """Pixels whose truth is 0 over a window are labelled right all the time, once the key frame is over."""
    source = Sequences((12,), 1)
    found = consistency(Counting(), source, None)
    truth = np.stack([source.truth(0, t) for t in range(12)])
    shares = []
    for start in range(5):
        window = truth[start : start + 8]
        constant = (window == window[0]).all(0)
        if constant.any():
            right = constant & (window[0] == 0) & (start > 0)
            shares.append(right.sum() / constant.sum())
    assert measured(found["vc8"]).correct == pytest.approx(np.mean(shares))
    assert reason(found["vc16"]) == "VC16 needs a sequence of more than 16 successive frames, and the longest has 12"
    assert measured(found["tc"]).flow == "DIS (OpenCV)"
    assert measured(found["tc"]).windows == 11


def test_the_scripts_tc_is_that_of_the_run_fed_backwards(monkeypatch: pytest.MonkeyPatch) -> None:
    """Labels at random, and a flow that tells which way it was computed."""
    rng = torch.Generator().manual_seed(0)
    labels = [torch.randint(0, 2, (HEIGHT, WIDTH), generator=rng) for _ in range(3)]
    frames = [torch.full((1, 3, HEIGHT, WIDTH), float(t)) for t in range(3)]

    def flow(current: Tensor, previous: Tensor) -> Tensor:
        step = float(current.mean() - previous.mean())
        return torch.full((1, 2, HEIGHT, WIDTH), 1.5 * step)

    monkeypatch.setattr("vseg_nas.evaluation.consistency.dis_flow", flow)
    meter = ConsistencyMeter(sequences_of(Sequences((3,), 1)), FlowStore())
    for t, (frame, ids) in enumerate(zip(frames, labels, strict=True)):
        meter.update(str(t), frame, ids, ids)
    backwards = TemporalConsistency(2, "reference")
    for t in (2, 1, 0):
        backwards.update(labels[t], None if t == 2 else flow(frames[t], frames[t + 1])[0])
    assert measured(meter.result()["tc"]).reference == pytest.approx(backwards.result().value, abs=1e-12)
    forwards = TemporalConsistency(2, "correct")
    for t in range(3):
        forwards.update(labels[t], None if t == 0 else flow(frames[t], frames[t - 1])[0])
    assert measured(meter.result()["tc"]).correct == pytest.approx(forwards.result().value, abs=1e-12)


def test_flow_is_computed_once_for_all_methods_while_there_is_room(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def flow(current: Tensor, previous: Tensor) -> Tensor:
        calls.append(1)
        return torch.zeros(1, 2, HEIGHT, WIDTH)

    monkeypatch.setattr("vseg_nas.evaluation.consistency.dis_flow", flow)
    frame, one = torch.zeros(1, 3, HEIGHT, WIDTH), 2 * 2 * 4 * HEIGHT * WIDTH
    store = FlowStore(most_bytes=one)
    for _ in range(3):
        store.between(("a", "b"), frame, frame)
    assert len(calls) == 2  # to and fro
    for _ in range(3):
        store.between(("b", "c"), frame, frame)
    assert len(calls) == 2 + 6


def test_consistency_is_refused_with_a_reason() -> None:
    found = consistency(Counting(), Sequences((12,), 1, unlabelled=[(0, 3)]), 5)
    assert "only some frames are labelled" in reason(found["vc8"])
    assert isinstance(found["tc"], Consistency)


def test_frames_far_apart_have_no_consistency() -> None:
    source = Sequences((12,), 1)
    source.frame_seconds = 1.0
    found = consistency(Counting(), source, 5)
    assert all("they are 1 s apart" in reason(found[name]) for name in ("vc8", "vc16", "tc"))


def test_a_missing_frame_ends_a_run() -> None:
    source = Sequences((4,), 1)
    source.frame_ids = ((19,), (20,), (294,), (576,))  # as numbered in one long drive of CityScapes
    split = sequences_of(source)
    assert [[index.clip for index in sequence.frames] for sequence in split.sequences] == [[0, 1], [2], [3]]
    assert split.skip_reason is None
    source.frame_ids = ((19,), (119,), (294,), (576,))
    assert sequences_of(source).skip_reason == "no two successive frames are labelled"
