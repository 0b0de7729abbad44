"""Two ways to score a video network: pairs of frames, as in the paper, and full sequences with a key frame every K.

Legend: T frames, K frames from one key frame to the next, H, W pixels, C classes.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from vseg_nas.data import Clip, ClipSource, ClipTransform
from vseg_nas.evaluation.consistency import ConsistencyMeter
from vseg_nas.evaluation.sequences import FrameIndex, VideoSequence
from vseg_nas.labels import IGNORE
from vseg_nas.metrics import ConfusionMatrix, SegmentationScores, scores_from_confusion
from vseg_nas.models.video_segmenter import VideoSegmenter
from vseg_nas.results.scores import DistanceScore, RollingScores

Tick = Callable[[], None]
"""Is called after every clip or frame, to show the progress."""


@dataclass(frozen=True)
class PairScores:
    """The result of the pair protocol.

    Attributes:
        scores: The scores over all second frames together.
        confusion: (C, C) pixels; rows are the ground truth, columns the predictions.
        miou_per_frame: The mIoU of each second frame alone; None for a frame without labelled pixels.
    """

    scores: SegmentationScores
    confusion: Tensor
    miou_per_frame: tuple[float | None, ...]


@torch.inference_mode()
def score_pairs(
    segmenter: VideoSegmenter, source: ClipSource, transform: ClipTransform, device: torch.device, tick: Tick
) -> PairScores:
    """Runs the pair protocol: frame t-1 is a key frame, and frame t is labelled from it and scored.

    Args:
        segmenter: The network, in evaluation mode, on ``device``.
        source: Clips of T = 2.
        transform: Returns frames at any size and masks at the size that they are scored at.
        device: The device to compute on.
        tick: Is called after each clip.
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
    """Returns the predicted class ids (H, W) of the second frame of a pair, at the size of its mask."""
    segmenter.reset()
    segmenter.advance(clip.frames[0].to(device), key=True)
    segmenter.advance(clip.frames[1].to(device))
    return segmenter.labels((clip.masks.shape[-2], clip.masks.shape[-1]))


class FrameCounts(NamedTuple):
    """The confusion matrix of one labelled frame.

    Attributes:
        frame: The index of the frame in its source.
        position: The position of the frame in the sequence that was rolled over, whose first frame was a key frame.
        counts: (C, C) pixels; rows are the ground truth, columns the predictions.
    """

    frame: FrameIndex
    position: int
    counts: Tensor


@torch.inference_mode()
def roll(
    segmenter: VideoSegmenter,
    sequences: Iterable[VideoSequence],
    transform: ClipTransform,
    key_every: int | None,
    device: torch.device,
    tick: Tick,
    consistency: ConsistencyMeter | None = None,
) -> list[FrameCounts]:
    """Runs the rolling protocol: the first frame of each sequence, and every K-th after it, is a key frame.

    Args:
        segmenter: The network, in evaluation mode, on ``device``.
        sequences: The sequences to label.
        transform: The transform of clips, as in `score_pairs`.
        key_every: K; None means that only the first frame is a key frame.
        device: The device to compute on.
        tick: Is called after each frame.
        consistency: Is updated with every frame.

    Returns:
        The counts of the frames that have a ground truth.
    """
    found = []
    for sequence in sequences:
        segmenter.reset()
        if consistency:
            consistency.start_sequence()
        for position, (index, raw) in enumerate(sequence):
            clip = transform(raw)
            truth, frame = clip.masks[0], clip.frames[0].to(device)
            segmenter.advance(frame, key=position == 0 or (key_every is not None and position % key_every == 0))
            labelled = bool((truth != IGNORE).any())
            if labelled or consistency:
                labels = segmenter.labels((truth.shape[-2], truth.shape[-1])).cpu()
                if labelled:
                    found.append(FrameCounts(index, position, _counts(labels, truth, segmenter.num_classes)))
                if consistency:
                    consistency.update(clip.names[0], clip.frames, labels, truth)
            tick()
    return found


def roll_truth(
    sequences: Iterable[VideoSequence], transform: ClipTransform, consistency: ConsistencyMeter, tick: Tick
) -> None:
    """Measures the temporal consistency of the ground truth, as if a network without error had predicted it.

    Args:
        sequences: The sequences to read.
        transform: The transform of their frames and masks.
        consistency: Is updated with every frame.
        tick: Is called after each frame.
    """
    for sequence in sequences:
        consistency.start_sequence()
        for _, raw in sequence:
            clip = transform(raw)
            consistency.update(clip.names[0], clip.frames, clip.masks[0], clip.masks[0])
            tick()


def roll_from_counts(found: Sequence[FrameCounts], sequences: Iterable[VideoSequence]) -> list[FrameCounts]:
    """Returns what `roll` would return for a network that labels each frame by itself, without running it again.

    Args:
        found: The counts of all frames, from one pass over them.
        sequences: The sequences to label.
    """
    counts = {entry.frame: entry.counts for entry in found}
    return [
        FrameCounts(index, position, counts[index])
        for sequence in sequences
        for position, index in enumerate(sequence.frames)
        if index in counts
    ]


def _counts(labels: Tensor, truth: Tensor, classes: int) -> Tensor:
    matrix = ConfusionMatrix(classes)
    matrix.update(labels, truth.to(labels.device))
    return matrix.counts.cpu()


def rolling_scores(found: Sequence[FrameCounts], key_every: int | None) -> RollingScores:
    """Returns the scores of the frames that `roll` has labelled.

    Args:
        found: The counts of the frames.
        key_every: K of that pass; None means that only the first frame of each sequence was a key frame.

    Raises:
        ValueError: No frame has a ground truth.
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
    """Returns the first distance of the bucket of a distance: 0 to 8 each, then 9 to 16, 17 to 32, 33 to 64 ..."""
    return distance if distance <= 8 else (1 << ((distance - 1).bit_length() - 1)) + 1
