"""Chooses the numbers of key=adaptive: ``python benchmarks/key_policy.py CAMVID CLIP.mp4``.

Scene cuts: differences of thumbnails between successive frames (CamVid val, 1/15 s apart, and the clip), and between
frames of different videos. Confidence: mIoU on CamVid val and the share of key frames, at fixed intervals and at falls
of confidence, with the network of the bundled checkpoint.
"""

import itertools
import json
import sys
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from vseg_nas.api import TorchPredictor, load_predictor
from vseg_nas.data import CamVid
from vseg_nas.evaluation.sequences import VideoSequence, sequences_of
from vseg_nas.metrics import ConfusionMatrix
from vseg_nas.pictures import Image
from vseg_nas.video.key_frames import Adaptive, EveryK, KeyPolicy, difference, thumbnail
from vseg_nas.video.stream import VideoStream

PACES = (1, 5, None)
DROPS = (0.01, 0.02, 0.05)
NEVER = 9.0
SHARES = (0, 1, 50, 99, 100)


def main() -> None:
    """Prints tables and a JSON line."""
    camvid, clip = Path(sys.argv[1]), sys.argv[2]
    val = sequences_of(CamVid(camvid, "val", 1, 1)).sequences
    sequences = [[(raw.frames[0], raw.masks[0]) for _, raw in sequence] for sequence in val if len(sequence) > 1]
    driving = [frame.image for frame in VideoStream(clip)]
    steady = [step for images in (*([image for image, _ in s] for s in sequences), driving) for step in _steps(images)]
    others = [sequences_of(CamVid(camvid, split, 1, 1)) for split in ("train", "test")]
    firsts = [_first(sequence) for split in others for sequence in split.sequences]
    firsts += [sequences[0][0][0], driving[0]]
    small = [thumbnail(image) for image in firsts]
    cuts = [difference(one, other) for one, other in itertools.combinations(small, 2)]
    print(f"difference of thumbnails: {', '.join(f'{share} %' for share in SHARES)}")
    for name, values in (("successive frames", steady), ("different videos", cuts)):
        print(f"{name:>18} ({len(values)}): {'  '.join(f'{v:.3f}' for v in np.percentile(values, SHARES))}")
    predictor, result = load_predictor(), {}
    print(f"{'CamVid val':>18}  key frames   mIoU")
    policies: dict[str, list[KeyPolicy]] = {f"every {k or 'never'}": [EveryK(k) for _ in sequences] for k in PACES}
    policies |= {f"fall {drop:g}": [Adaptive(NEVER, drop, None) for _ in sequences] for drop in DROPS}
    for name, keys in policies.items():
        share, miou = _score(predictor, sequences, keys)
        result[name] = {"keys": share, "miou": miou}
        print(f"{name:>18}  {100 * share:8.1f} %  {100 * miou:5.2f}", flush=True)
    falls = _falls(predictor, driving)
    print(f"the clip, falls of confidence: {'  '.join(f'{v:.3f}' for v in np.percentile(falls, SHARES))}")
    print(json.dumps({"steady": max(steady), "cuts": min(cuts), "policies": result}))


def _first(sequence: VideoSequence) -> Image:
    _, raw = next(iter(sequence))
    return raw.frames[0]


def _steps(images: list[Image]) -> list[float]:
    return [difference(one, other) for one, other in itertools.pairwise(map(thumbnail, images))]


def _score(
    predictor: TorchPredictor, sequences: list[list[tuple[Image, NDArray[np.uint8]]]], keys: list[KeyPolicy]
) -> tuple[float, float]:
    """Share of key frames and mIoU over all frames of all sequences."""
    confusion, count, frames = ConfusionMatrix(len(predictor.classes)), 0, 0
    for sequence, policy in zip(sequences, keys, strict=True):
        predictor.reset()
        for image, mask in sequence:
            key = policy.is_key_frame(image)
            labels = predictor.step(image, key)
            policy.update(key, predictor.confidence())
            confusion.update(torch.from_numpy(labels).long(), torch.from_numpy(mask).long())
            count, frames = count + key, frames + 1
    return count / frames, confusion.scores().miou


def _falls(predictor: TorchPredictor, images: list[Image]) -> list[float]:
    """How far confidence lies below that of the first frame, the only key frame."""
    predictor.reset()
    confidence = []
    for image in images:
        predictor.step(image)
        confidence.append(predictor.confidence())
    return [confidence[0] - value for value in confidence[1:]]


if __name__ == "__main__":
    main()
