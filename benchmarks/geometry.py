"""Where planes lie: mIoU of the static network with stretched planes, and with planes enlarged by their strides.

    python benchmarks/geometry.py --camvid DIR [--threads 1]

Same weights, CamVid val and test, every frame on its own against its full-size mask (360x480), one confusion matrix a
split. Strides round up, so at sizes that 32 does not divide the planes of a network reach beyond the frame. Stretched
to each other's size, as is usual, they drift apart; `enlarge` keeps them in place. The last row resizes frames to the
nearest size that 32 divides, where both are the same.
"""

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from unittest import mock

import torch
from torch import Tensor
from torch.nn.functional import interpolate

from vseg_nas.data import CamVid, resized
from vseg_nas.metrics import ConfusionMatrix
from vseg_nas.models import arch2
from vseg_nas.models.inference import optimized
from vseg_nas.models.layers import label_map
from vseg_nas.models.propagation import CopyPrevious
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.models.video_segmenter import VideoSegmenter

WEIGHTS = Path(__file__).parents[1] / "weights/camvid_cpu_static.safetensors"
SIZES = ((180, 240), (360, 480), (192, 256))
FORMS = ("stretched", "by strides")

Size = tuple[int, int]


def by_strides(network: StaticSegmenter, taps: Sequence[Tensor], frame: Size, size: Size) -> Tensor:
    """As everywhere in this project."""
    return label_map(network.decoder(taps)[1], frame, size)


def stretched(network: StaticSegmenter, taps: Sequence[Tensor], frame: Size, size: Size) -> Tensor:
    """Every plane resized to the size of the one it meets, logits to that of the labels."""

    def to_largest(planes: Sequence[Tensor], strides: Sequence[int]) -> list[Tensor]:
        largest = max((plane.shape[-2:] for plane in planes), key=lambda shape: shape[0] * shape[1])
        return [interpolate(plane, tuple(largest), mode="bilinear", align_corners=False) for plane in planes]

    with mock.patch.object(arch2, "enlarge_to_finest", to_largest):
        pred = network.decoder(taps)[1]
    return interpolate(pred, size, mode="bilinear", align_corners=False).argmax(1)


@torch.inference_mode()
def score(network: StaticSegmenter, source: CamVid, frame: Size) -> dict[str, float]:
    """MIoU of both forms in percent, from one run of the encoder a frame."""
    transform = resized(frame)
    forms = dict(zip(FORMS, (stretched, by_strides), strict=True))
    counts = {name: ConfusionMatrix(len(source.classes)) for name in forms}
    for index in range(len(source)):
        clip = transform(source[index])
        taps = network.encode(clip.frames.contiguous(memory_format=torch.channels_last))
        size = clip.masks.shape[-2], clip.masks.shape[-1]
        for name, label in forms.items():
            counts[name].update(label(network, taps, frame, size), clip.masks)
    return {name: 100 * matrix.scores().miou for name, matrix in counts.items()}


def main() -> None:
    """Prints a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--camvid", type=Path, required=True, help="folder in the layout of the SegNet tutorial")
    parser.add_argument("--weights", type=Path, default=WEIGHTS)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    network = optimized(VideoSegmenter(StaticSegmenter.load(options.weights), CopyPrevious())).static
    sources = {split: CamVid(options.camvid, split, length=1) for split in ("val", "test")}
    result = []
    print(f"{'frames':>8} {'planes':>12} {'val':>6} {'test':>6}   mIoU in %", flush=True)
    for frame in SIZES:
        scores = {split: score(network, source, frame) for split, source in sources.items()}
        for form in FORMS:
            val, test = (scores[split][form] for split in sources)
            print(f"{frame[0]:>4}x{frame[1]:<3} {form:>12} {val:>6.1f} {test:>6.1f}", flush=True)
            result.append({"frame": frame, "planes": form, "val": round(val, 2), "test": round(test, 2)})
    print(json.dumps(result))


if __name__ == "__main__":
    main()
