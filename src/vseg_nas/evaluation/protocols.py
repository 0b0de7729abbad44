"""Two ways to score a video network: pairs of frames, as in the paper, and whole runs with a key frame every K.

Legend: T frames, K frames from one key frame to the next, H, W.
"""

import itertools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from vseg_nas.data import Clip, ClipSource, ClipTransform
from vseg_nas.errors import DataError
from vseg_nas.flow import dis_flow, resize_flow
from vseg_nas.labels import IGNORE
from vseg_nas.metrics import (
    ConfusionMatrix,
    ConsistencyResult,
    SegmentationScores,
    TemporalConsistency,
    VideoConsistency,
    scores_from_confusion,
    tc_refusal,
    vc_refusal,
)
from vseg_nas.metrics.consistency import Form
from vseg_nas.models.video import VideoSegmenter

Tick = Callable[[], None]
"""Called after every clip."""

FORMS: tuple[Form, ...] = ("correct", "reference")
VC_WINDOWS = (8, 16)
FLOW = "DIS (OpenCV)"


@dataclass(frozen=True)
class PairScores:
    """Of the pair protocol.

    Attributes:
        scores: over all second frames together.
        confusion: (K, K) pixels, rows are truth, columns are labels.
        miou_per_frame: of each second frame alone, NaN where it has no labelled pixel.
    """

    scores: SegmentationScores
    confusion: Tensor
    miou_per_frame: tuple[float, ...]


@torch.inference_mode()
def score_pairs(
    segmenter: VideoSegmenter, source: ClipSource, transform: ClipTransform, device: torch.device, tick: Tick
) -> PairScores:
    """The pair protocol: frame t-1 is a key frame, frame t is labelled from it and scored.

    Args:
        segmenter: in evaluation mode, on ``device``.
        source: clips of T = 2.
        transform: gives frames at any size and masks at the size that they are scored at.
        device: where to compute.
        tick: see `Tick`.
    """
    classes = len(source.classes)
    total, each = ConfusionMatrix(classes), []
    for index in range(len(source)):
        clip = transform(source[index])
        one = ConfusionMatrix(classes)
        one.update(label_pair(segmenter, clip, device), clip.masks[1].to(device))
        each.append(scores_from_confusion(one.counts).miou if one.counts.sum() else float("nan"))
        total.counts = total.counts + one.counts.cpu()
        tick()
    return PairScores(total.scores(), total.counts, tuple(each))


def label_pair(segmenter: VideoSegmenter, clip: Clip, device: torch.device) -> Tensor:
    """Labels (H, W) of the second frame of a pair, at the size of its mask."""
    height, width = clip.masks.shape[-2:]
    segmenter.reset()
    segmenter.step(clip.frames[0].to(device), key=True)
    return segmenter.step(clip.frames[1].to(device), size=(height, width))


@dataclass(frozen=True)
class DistanceScore:
    """mIoU of the frames that are ``distance`` or a little more frames away from where the protocol sets a key frame.

    Distances over 8 are put together: 9 stands for 9 to 16, 17 for 17 to 32 and so on.
    """

    distance: int
    frames: int
    miou: float


@dataclass(frozen=True)
class Consistency:
    """One metric of temporal consistency in both forms, or why there is none.

    Attributes:
        correct: as we define it.
        reference: as the published script computes it.
        windows: that ``correct`` covers.
        flow: where optical flow came from, if any was used.
        refused: one line; the numbers are then None.
    """

    correct: float | None = None
    reference: float | None = None
    windows: int = 0
    flow: str | None = None
    refused: str | None = None


@dataclass(frozen=True)
class RollingScores:
    """Of whole runs.

    Attributes:
        scores: over all labelled frames, key frames included.
        by_distance: by distance from the key frame that the protocol sets, so that methods compare frame by frame.
        consistency: by name: vc8, vc16, tc; empty where it was not measured.
    """

    scores: SegmentationScores
    by_distance: tuple[DistanceScore, ...]
    consistency: dict[str, Consistency]

    @property
    def average(self) -> float:
        """Mean over distances of their mIoU: every distance counts the same."""
        return sum(entry.miou for entry in self.by_distance) / len(self.by_distance)

    @property
    def minimum(self) -> float:
        """The worst distance."""
        return min(entry.miou for entry in self.by_distance)


def runs_of(source: ClipSource) -> list[list[int]]:
    """Indices of a source of single frames (T = 1), run by run and in order; a missing frame ends a run.

    Frames of CityScapes that share a name may be parts of one long drive, hundreds of frames apart.
    """
    places = sorted((source.runs[index], source.frame_ids[index][0], index) for index in range(len(source)))
    runs: list[list[int]] = []
    for position, (name, frame, index) in enumerate(places):
        if position and places[position - 1][:2] == (name, frame - 1):
            runs[-1].append(index)
        else:
            runs.append([index])
    return runs


def rolling_refusal(source: ClipSource) -> str | None:
    """Why whole runs cannot be scored, in one line; None if they can."""
    if max(map(len, runs_of(source))) < 2:
        return "no two successive frames are labelled"
    return None


def score_runs(
    segmenter: VideoSegmenter,
    source: ClipSource,
    transform: ClipTransform,
    key_every: int | None,
    device: torch.device,
    tick: Tick,
    consistency: bool = True,
) -> RollingScores:
    """The rolling protocol: the first frame of each run, and every K-th after it, is a key frame.

    Args:
        segmenter: in evaluation mode, on ``device``.
        source: single frames (T = 1).
        transform: see `score_pairs`.
        key_every: K; None: the first frame alone.
        device: where to compute.
        tick: see `Tick`.
        consistency: measure temporal consistency, too, which costs more than the scores.

    Raises:
        DataError: no two frames of the source follow each other.
    """
    if refused := rolling_refusal(source):
        raise DataError(f"rolling evaluation: {refused}")
    runs = runs_of(source)
    scores = _DistanceMeter(len(source.classes))
    steadiness = _ConsistencyMeter(len(source.classes), runs, source.frame_seconds) if consistency else None
    for run in runs:
        segmenter.reset()
        if steadiness:
            steadiness.start_run()
        for position, index in enumerate(run):
            clip = transform(source[index])
            distance = position if key_every is None else position % key_every
            height, width = clip.masks.shape[-2:]
            labels = segmenter.step(clip.frames[0].to(device), key=distance == 0, size=(height, width))
            labels, truth = labels.cpu(), clip.masks[0]
            scores.update(distance, labels, truth)
            if steadiness:
                steadiness.update(clip.frames, labels, truth)
            tick()
    return RollingScores(scores.total(), scores.by_distance(), steadiness.result() if steadiness else {})


class _DistanceMeter:
    """One confusion matrix for each distance from the key frame."""

    def __init__(self, classes: int) -> None:
        self._classes = classes
        self._matrices: dict[int, ConfusionMatrix] = {}
        self._frames: Counter[int] = Counter()

    def update(self, distance: int, labels: Tensor, truth: Tensor) -> None:
        if bool((truth == IGNORE).all()):
            return
        bucket = _bucket(distance)
        self._matrices.setdefault(bucket, ConfusionMatrix(self._classes)).update(labels, truth)
        self._frames[bucket] += 1

    def total(self) -> SegmentationScores:
        return scores_from_confusion(torch.stack([matrix.counts for matrix in self._matrices.values()]).sum(0))

    def by_distance(self) -> tuple[DistanceScore, ...]:
        return tuple(
            DistanceScore(distance, self._frames[distance], matrix.scores().miou)
            for distance, matrix in sorted(self._matrices.items())
        )


class _ConsistencyMeter:
    """VC and TC in both forms."""

    def __init__(self, classes: int, runs: Sequence[Sequence[int]], frame_seconds: float | None) -> None:
        self._lengths = [len(run) for run in runs]
        self._frame_seconds = frame_seconds
        self._vc = {n: {form: VideoConsistency(n, form) for form in FORMS} for n in VC_WINDOWS}
        self._tc = {form: TemporalConsistency(classes, form) for form in FORMS}
        self._tc_refused = tc_refusal(frame_seconds)
        self._previous: Tensor | None = None
        self._all_labelled = True

    def start_run(self) -> None:
        self._previous = None
        for vc in itertools.chain(*(forms.values() for forms in self._vc.values())):
            vc.start_run()
        for tc in self._tc.values():
            tc.start_run()

    def update(self, frame: Tensor, labels: Tensor, truth: Tensor) -> None:
        self._all_labelled &= bool((truth != IGNORE).any())
        for vc in itertools.chain(*(forms.values() for forms in self._vc.values())):
            vc.update(labels, truth)
        if self._tc_refused is None:
            flow = None
            if self._previous is not None:
                flow = resize_flow(dis_flow(frame, self._previous), labels)[0]
            for tc in self._tc.values():
                tc.update(labels, flow)
        self._previous = frame

    def result(self) -> dict[str, Consistency]:
        found: dict[str, Consistency] = {}
        for n, forms in self._vc.items():
            refused = vc_refusal(n, self._lengths, self._all_labelled, self._frame_seconds)
            found[f"vc{n}"] = _both(forms["correct"], forms["reference"], None, refused)
        found["tc"] = _both(self._tc["correct"], self._tc["reference"], FLOW, self._tc_refused)
        return found


class _Metric(Protocol):
    def result(self) -> ConsistencyResult: ...


def _both(correct: _Metric, reference: _Metric, flow: str | None, refused: str | None) -> Consistency:
    if refused:
        return Consistency(refused=refused)
    try:
        found, by_script = correct.result(), reference.result()
    except ValueError as error:
        return Consistency(refused=str(error))
    return Consistency(found.value, by_script.value, found.windows, flow)


def _bucket(distance: int) -> int:
    """0..8 as they are, then 9, 17, 33, ...: the first distance of the power of two."""
    return distance if distance <= 8 else (1 << ((distance - 1).bit_length() - 1)) + 1
