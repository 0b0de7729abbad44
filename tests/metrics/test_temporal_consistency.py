import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vseg_nas.metrics import ConsistencyResult, TemporalConsistency, VideoConsistency, tc_skip_reason, vc_skip_reason
from vseg_nas.metrics.temporal_consistency import Form

FORMS: tuple[Form, ...] = ("correct", "reference")
Ids = NDArray[np.int64]
Flow = NDArray[np.float32]
Run = list[tuple[Any, Any]]
"""Frames of (prediction, truth)."""


def vc(n: int, form: Form, *runs: Run) -> ConsistencyResult:
    metric = VideoConsistency(n, form)
    for run in runs:
        metric.start_sequence()
        for prediction, truth in run:
            metric.update(torch.as_tensor(prediction), torch.as_tensor(truth))
    return metric.result()


def vc_by_hand(n: int, form: Form, runs: Sequence[Run]) -> tuple[float, int]:
    """Window by window and pixel by pixel, with all frames at hand."""
    values = []
    for run in runs:
        for start in range(len(run) - n + (form == "correct")):
            window = run[start : start + n]
            area = hits = 0
            for pixel in np.ndindex(window[0][1].shape):
                predicted, true = ({int(frame[i][pixel]) for frame in window} for i in (0, 1))
                if len(true) == 1 and not (form == "correct" and 255 in true):
                    area += 1
                    hits += predicted == true if form == "correct" else len(predicted) == 1
            values.append(hits / area if area else float("nan"))
    return float(np.nanmean(values)), int(np.isfinite(values).sum())


def lazy_walk(rng: np.random.Generator, frames: int, choices: Sequence[int], change: float) -> list[Ids]:
    """Maps of which each pixel is drawn anew now and then."""
    maps = [rng.choice(choices, (4, 5))]
    for _ in range(frames - 1):
        maps.append(np.where(rng.random((4, 5)) < change, rng.choice(choices, (4, 5)), maps[-1]))
    return maps


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("n", [2, 3, 8])
def test_vc_like_numpy(n: int, form: Form) -> None:
    rng = np.random.default_rng(0)
    runs = []
    for frames in (17, n, 1, n - 1, n + 1):
        truth = lazy_walk(rng, frames, (0, 1, 2, 255), 0.2)
        noise = lazy_walk(rng, frames, (0, 1, 2), 0.2)
        mixed = [np.where((rng.random((4, 5)) < 0.2) | (g == 255), p, g) for p, g in zip(noise, truth, strict=True)]
        runs.append(list(zip(mixed, truth, strict=True)))
    value, windows = vc_by_hand(n, form, runs)
    assert 0 < value < 1
    result = vc(n, form, *runs)
    assert result.value == pytest.approx(value)
    assert result.windows == windows


def test_vc_constant_but_wrong() -> None:
    run = [(np.full((2, 2), 1), np.full((2, 2), 0))] * 4
    assert vc(3, "reference", run).value == 1
    assert vc(3, "correct", run).value == 0


def test_vc_of_a_moving_object() -> None:
    """The object goes from pixel 0 to pixel 1: only pixels 2 and 3 stand still, and the prediction loses one."""
    truth = [[[1, 0, 0, 0]], [[0, 1, 0, 0]], [[0, 0, 1, 0]]]
    sharp = list(zip(truth, truth, strict=True))
    assert vc(2, "correct", sharp) == ConsistencyResult(1, 2)
    flicker = [([[1, 0, 0, 0]], truth[0]), ([[0, 1, 0, 1]], truth[1])]
    assert vc(2, "correct", flicker) == ConsistencyResult(1 / 2, 1)


def test_vc_void() -> None:
    """Void stands still and the prediction on it does not: only the script counts that."""
    truth = np.array([[0, 255]])
    run = [(np.array([[0, frame % 2]]), truth) for frame in range(5)]
    assert vc(2, "correct", run) == ConsistencyResult(1, 4)
    assert vc(2, "reference", run) == ConsistencyResult(1 / 2, 3)


def test_vc_windows_of_short_runs() -> None:
    """The script drops the last window of each sequence; no window crosses from one sequence to the next."""
    still = (np.zeros((2, 2), int), np.zeros((2, 2), int))
    lengths = (10, 3, 4, 5)
    runs = [[still] * length for length in lengths]
    assert vc(4, "correct", *runs).windows == 7 + 0 + 1 + 2
    assert vc(4, "reference", *runs).windows == 6 + 0 + 0 + 1
    with pytest.raises(ValueError, match="no window of 4 frames"):
        vc(4, "reference", runs[2])
    with pytest.raises(ValueError, match="no window of 4 frames"):
        vc(4, "correct", runs[1])


@pytest.mark.parametrize("form", FORMS)
def test_vc_ignores_windows_in_which_nothing_stands_still(form: Form) -> None:
    """One pixel changes between the first two frames and never again: of four windows the first has no area."""
    run = [(np.array([[k]]), np.array([[k]])) for k in (0, 1, 1, 1, 1)]
    assert vc(2, form, run) == ConsistencyResult(1, 3 if form == "correct" else 2)


def test_vc_refuses_maps_of_different_sizes() -> None:
    with pytest.raises(ValueError, match="differ in size"):
        VideoConsistency(2, "correct").update(torch.zeros(4, 5), torch.zeros(1, 5))


def test_a_buffer_used_again_is_no_constant_prediction() -> None:
    video, flow = VideoConsistency(2, "correct"), TemporalConsistency(2, "correct")
    buffer, truth = torch.zeros(3, 3, dtype=torch.int64), torch.zeros(3, 3, dtype=torch.int64)
    for frame in range(3):
        buffer.fill_(frame % 2)
        video.update(buffer, truth)
        flow.update(buffer, torch.zeros(2, 3, 3) if frame else None)
    assert video.result().value == 0
    assert flow.result().value == 0


def tc(form: Form, *runs: list[tuple[Ids, Flow]], classes: int = 4) -> ConsistencyResult:
    metric = TemporalConsistency(classes, form)
    for run in runs:
        metric.start_sequence()
        for index, (prediction, flow) in enumerate(run):
            metric.update(torch.tensor(prediction), torch.tensor(flow) if index else None)
    return metric.result()


def read_at(before: Ids, u: float, v: float, form: Form) -> int | None:
    """What each form finds in the other frame at column u, row v; None is left out."""
    height, width = before.shape
    if form == "correct":
        column, row = int(np.floor(u + 0.5)), int(np.floor(v + 0.5))
    else:
        column, row = int(np.rint(u * width / (width - 1) - 0.5)), int(np.rint(v * height / (height - 1) - 0.5))
    if 0 <= column < width and 0 <= row < height:
        return int(before[row, column])
    return None if form == "correct" else 0


def pooled_miou(pairs: list[tuple[int, int | None]]) -> float:
    pairs = [pair for pair in pairs if pair[1] is not None]
    ious = []
    for k in {now for now, _ in pairs}:
        union = [now == before for now, before in pairs if k in (now, before)]
        ious.append(sum(union) / len(union))
    return float(np.mean(ious))


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("size", [(6, 8), (7, 9)])
def test_tc_like_numpy(size: tuple[int, int], form: Form) -> None:
    """Class 3 is in the first frames only, so in some warped maps and in no P_t: it does not count."""
    rng = np.random.default_rng(0)
    runs, pairs, pooled = [], 0, []
    for frames in (5, 1, 3):
        maps = [rng.integers(1, 4 if frame == 0 else 3, size) for frame in range(frames)]
        flows = [rng.normal(scale=2, size=(2, *size)).astype(np.float32) for _ in maps]
        runs.append(list(zip(maps, flows, strict=True)))
        for t in range(1, frames):
            pairs += 1
            for y, x in np.ndindex(size):
                u, v = x + float(flows[t][0, y, x]), y + float(flows[t][1, y, x])
                pooled.append((int(maps[t][y, x]), read_at(maps[t - 1], u, v, form)))
    result = tc(form, *runs)
    assert result.value == pytest.approx(pooled_miou(pooled))
    assert result.windows == pairs == 6


def structured(height: int, width: int) -> Ids:
    """Stripes and blocks of four classes."""
    rows, columns = np.mgrid[:height, :width]
    return np.asarray((rows // 3 + columns // 2) % 4)


@pytest.mark.parametrize("size", [(36, 48), (36, 47), (35, 48), (35, 47)])
def test_tc_of_a_still_scene(size: tuple[int, int]) -> None:
    """The script loses the last row and column where their number is even."""
    scene = structured(*size)
    still = [(scene, np.zeros((2, *size), np.float32))] * 3
    assert tc("correct", still) == ConsistencyResult(1, 2)
    seen = scene.copy()
    if size[0] % 2 == 0:
        seen[-1] = 0
    if size[1] % 2 == 0:
        seen[:, -1] = 0
    ious = [np.sum((scene == k) & (seen == k)) / np.sum((scene == k) | (seen == k)) for k in range(4)]
    result = tc("reference", still)
    assert result.value == pytest.approx(np.mean(ious))
    assert (result.value < 1) == (size != (35, 47))


def test_tc_along_a_shift() -> None:
    """The scene moves one pixel to the left a frame: its prediction is consistent along the flow, not without it."""
    scene = structured(12, 30)
    run = [(scene[:, t : t + 20], np.zeros((2, 12, 20), np.float32)) for t in range(4)]
    assert tc("correct", run).value < 0.5
    for _, flow in run:
        flow[0] = 1
    assert tc("correct", run).value == 1


def test_tc_backwards_is_the_number_of_the_script() -> None:
    """The script moves t + 1 onto t along flow from t to t + 1."""
    rng = np.random.default_rng(1)
    maps = [rng.integers(0, 4, (6, 9)) for _ in range(5)]
    onward = [rng.normal(scale=1.5, size=(2, 6, 9)).astype(np.float32) for _ in maps]  # from t to t + 1
    pooled = []
    for t in range(4):
        for y, x in np.ndindex(6, 9):
            u, v = x + float(onward[t][0, y, x]), y + float(onward[t][1, y, x])
            pooled.append((int(maps[t][y, x]), read_at(maps[t + 1], u, v, "reference")))
    assert tc("reference", list(zip(maps, onward, strict=True))[::-1]).value == pytest.approx(pooled_miou(pooled))


@pytest.mark.parametrize("form", FORMS)
def test_tc_leaves_out_what_has_no_class_in_either_frame(form: Form) -> None:
    metric = TemporalConsistency(2, form)
    metric.update(torch.tensor([[0, 0, 1, 1, 255]]), None)
    metric.update(torch.tensor([[0, 1, 255, 1, 1]]), torch.zeros(2, 1, 5))  # class 0: 1 of 2, class 1: 1 of 2
    result = metric.result()
    assert result == ConsistencyResult(0.5, 1)


def test_tc_needs_flow_between_frames_only() -> None:
    metric, ids, flow = TemporalConsistency(2, "correct"), torch.zeros(4, 4), torch.zeros(2, 4, 4)
    with pytest.raises(ValueError, match="none for the first frame"):
        metric.update(ids, flow)
    metric.update(ids, None)
    with pytest.raises(ValueError, match="one for every later frame"):
        metric.update(ids, None)
    metric.start_sequence()
    metric.update(ids, None)
    with pytest.raises(ValueError, match="no pixel was compared"):
        metric.result()
    metric.update(ids, flow + 9)  # all of it from outside the frame
    with pytest.raises(ValueError, match="no pixel was compared"):
        metric.result()


@pytest.mark.parametrize(
    ("lengths", "labelled", "reason"),
    [
        ([101], True, None),
        ([3, 9, 1], True, None),
        ([8, 8], True, "the longest has 8"),
        ([], True, "the longest has 0"),
        ([101], False, "only some frames are labelled"),
    ],
)
def test_vc_refusal(lengths: list[int], labelled: bool, reason: str | None) -> None:
    line = vc_skip_reason(8, lengths, labelled, 0.1)
    if reason is None:
        assert line is None
    else:
        assert line is not None
        assert line.startswith("VC8 needs")
        assert line.endswith(reason)


@pytest.mark.parametrize(
    ("seconds", "reason"),
    [(1 / 15, None), (6 / 30, None), (1.0, "they are 1 s apart"), (7 / 30, "apart"), (None, "is not known")],
)
def test_tc_refusal(seconds: float | None, reason: str | None) -> None:
    line = tc_skip_reason(seconds)
    assert (line is None) == (reason is None)
    assert line is None or line.endswith(str(reason))


def test_real_truth_against_itself() -> None:
    """CamVid's val is one run at 15 Hz with a mask for every frame."""
    if "VSEG_NAS_CAMVID" not in os.environ:
        pytest.skip("VSEG_NAS_CAMVID does not name an unpacked CamVid")
    from vseg_nas.data import CamVid

    masks = CamVid(Path(os.environ["VSEG_NAS_CAMVID"]), "val", length=20)[0].masks
    assert (np.stack(masks) == 255).any()
    run: Run = [(mask, mask) for mask in masks]
    assert vc(8, "correct", run) == ConsistencyResult(1, 13)
    assert vc(8, "reference", run) == ConsistencyResult(1, 12)
    stale: Run = [(masks[0], mask) for mask in masks]
    assert vc(8, "reference", stale).value == 1
    assert 0.5 < vc(8, "correct", stale).value < 1
    still = [(np.where(masks[0] == 255, 11, masks[0]), np.zeros((2, 360, 480), np.float32))] * 2
    assert tc("correct", still, classes=12).value == 1
    assert 0.95 < tc("reference", still, classes=12).value < 1
