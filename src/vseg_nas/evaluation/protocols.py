"""Two ways to score a video network: pairs of frames, as in the paper, and whole runs with a key frame every K.

Legend: T frames, K frames from one key frame to the next, H, W, C classes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vseg_nas.data import Clip, ClipSource, ClipTransform
from vseg_nas.evaluation.consistency import ConsistencyMeter
from vseg_nas.evaluation.runs import Place, Run
from vseg_nas.labels import IGNORE
from vseg_nas.metrics import ConfusionMatrix, SegmentationScores, scores_from_confusion
from vseg_nas.models.video import VideoSegmenter
from vseg_nas.results.scores import DistanceScore, RollingScores

Tick = Callable[[], None]
"""Called after every clip or frame."""


@dataclass(frozen=True)
class PairScores:
    """Of the pair protocol.

    Attributes:
        scores: over all second frames together.
        confusion: (C, C) pixels, rows are truth, columns are labels.
        miou_per_frame: of each second frame alone, None where it has no labelled pixel.
    """

    scores: SegmentationScores
    confusion: Tensor
    miou_per_frame: tuple[float | None, ...]


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
    counts, each = torch.zeros(len(source.classes), len(source.classes), dtype=torch.int64), []
    for index in range(len(source)):
        clip = transform(source[index])
        one = _counts(label_pair(segmenter, clip, device), clip.masks[1], len(source.classes))
        each.append(scores_from_confusion(one).miou if one.any() else None)
        counts += one
        tick()
    return PairScores(scores_from_confusion(counts), counts, tuple(each))


def label_pair(segmenter: VideoSegmenter, clip: Clip, device: torch.device) -> Tensor:
    """Labels (H, W) of the second frame of a pair, at the size of its mask."""
    segmenter.reset()
    segmenter.advance(clip.frames[0].to(device), key=True)
    segmenter.advance(clip.frames[1].to(device))
    return segmenter.labels((clip.masks.shape[-2], clip.masks.shape[-1]))


class FrameCounts(NamedTuple):
    """What became of a labelled frame.

    Attributes:
        place: of the frame in its source.
        position: in the run that was labelled; its first frame was a key frame.
        counts: (C, C) pixels, rows are truth, columns are labels.
    """

    place: Place
    position: int
    counts: Tensor


@torch.inference_mode()
def roll(
    segmenter: VideoSegmenter,
    runs: Iterable[Run],
    transform: ClipTransform,
    key_every: int | None,
    device: torch.device,
    tick: Tick,
    steadiness: ConsistencyMeter | None = None,
) -> list[FrameCounts]:
    """Labels whole runs: the first frame of each, and every K-th after it, is a key frame.

    Args:
        segmenter: in evaluation mode, on ``device``.
        runs: to label.
        transform: as for `score_pairs`.
        key_every: K; None: the first frame alone.
        device: where to compute.
        tick: see `Tick`.
        steadiness: is fed with every frame.

    Returns:
        The frames that have a truth.
    """
    found = []
    for run in runs:
        segmenter.reset()
        if steadiness:
            steadiness.start_sequence()
        for position, (place, raw) in enumerate(run):
            clip = transform(raw)
            truth, frame = clip.masks[0], clip.frames[0].to(device)
            segmenter.advance(frame, key=position == 0 or (key_every is not None and position % key_every == 0))
            labelled = bool((truth != IGNORE).any())
            if labelled or steadiness:
                labels = segmenter.labels((truth.shape[-2], truth.shape[-1])).cpu()
                if labelled:
                    found.append(FrameCounts(place, position, _counts(labels, truth, segmenter.num_classes)))
                if steadiness:
                    steadiness.update(clip.names[0], clip.frames, labels, truth)
            tick()
    return found


def feed_truth(runs: Iterable[Run], transform: ClipTransform, steadiness: ConsistencyMeter, tick: Tick) -> None:
    """Feeds the truth of whole runs as if it were what labelled them: what a network without fault would get.

    Args:
        runs: to read.
        transform: of their frames and masks.
        steadiness: takes the truth.
        tick: called after each frame.
    """
    for run in runs:
        steadiness.start_sequence()
        for _, raw in run:
            clip = transform(raw)
            steadiness.update(clip.names[0], clip.frames, clip.masks[0], clip.masks[0])
            tick()


def at_every_distance(found: Sequence[FrameCounts], runs: Iterable[Run]) -> list[FrameCounts]:
    """What `roll` would find on ``runs`` for a network that labels each frame by itself, from each frame's counts."""
    counts = {frame.place: frame.counts for frame in found}
    return [
        FrameCounts(place, position, counts[place])
        for run in runs
        for position, place in enumerate(run.places)
        if place in counts
    ]


def _counts(labels: Tensor, truth: Tensor, classes: int) -> Tensor:
    matrix = ConfusionMatrix(classes)
    matrix.update(labels, truth.to(labels.device))
    return matrix.counts.cpu()


def rolling_scores(found: Sequence[FrameCounts], key_every: int | None) -> RollingScores:
    """Scores of the frames that `roll` found.

    Args:
        found: The frames.
        key_every: K, which they were labelled with; None: the first frame of each sequence alone was a key frame.

    Raises:
        ValueError: No frame has a truth.
    """
    frames: dict[int, list[Tensor]] = {}
    for frame in found:
        distance = frame.position if key_every is None else frame.position % key_every
        frames.setdefault(_bucket(distance), []).append(frame.counts)
    if not frames:
        raise ValueError("rolling: found no frame with a truth, expected one")
    overall = scores_from_confusion(torch.stack([frame.counts for frame in found]).sum(0))
    mious = {d: scores_from_confusion(torch.stack(counts).sum(0)).miou for d, counts in sorted(frames.items())}
    return RollingScores(
        **dict(overall),
        by_distance=tuple(DistanceScore(distance=d, frames=len(frames[d]), miou=miou) for d, miou in mious.items()),
        average=sum(mious.values()) / len(mious),
        minimum=min(mious.values()),
    )


def _bucket(distance: int) -> int:
    """0..8 as they are, then 9, 17, 33, ...: the first distance of the power of two."""
    return distance if distance <= 8 else (1 << ((distance - 1).bit_length() - 1)) + 1
