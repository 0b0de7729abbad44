"""Frames a second, plain and optimised: ``python benchmarks/inference.py [--size 360 480 --classes 11] [--threads 1]``.

`VideoSegmenter.step`, from a frame to its labels, of arch2 and of two cells; random weights, which take no less time.
All interleaved in one process; process CPU time and wall, minimum and median.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from vseg_nas.metrics import ConfusionMatrix
from vseg_nas.models.inference import optimized
from vseg_nas.models.layers import enlarge, label_map
from vseg_nas.models.segmenter_file import SegmenterSpec, load_segmenter
from vseg_nas.models.video_segmenter import VideoSegmenter
from vseg_nas.normalisation import IMAGENET_MEAN, IMAGENET_STD
from vseg_nas.space import Genotype
from vseg_nas.space.hand_written import HAND_WRITTEN
from vseg_nas.space.vocabulary import DEC_STRIDE

BEST = Path(__file__).parents[1] / "weights/camvid_cpu_best_cell.safetensors"


def build(genotype: Genotype, classes: int) -> VideoSegmenter:
    """Random weights, ready for evaluation."""
    names, palette = tuple(map(str, range(classes))), ((0, 0, 0),) * classes
    spec = SegmenterSpec("a", 0, "r", names, palette, genotype, "previous", False, mean=IMAGENET_MEAN, std=IMAGENET_STD)
    torch.manual_seed(0)
    return spec.build().eval()


def numpy_confusion(prediction: Tensor, truth: Tensor, classes: int) -> Tensor:
    """The usual way."""
    p, t = prediction.numpy().ravel(), truth.numpy().ravel()
    kept = t != 255
    pairs = np.bincount(classes * t[kept].astype(np.int64) + p[kept], minlength=classes**2)
    return torch.from_numpy(pairs.reshape(classes, classes))


def our_confusion(prediction: Tensor, truth: Tensor, classes: int) -> Tensor:
    """That of every score."""
    matrix = ConfusionMatrix(classes)
    matrix.update(prediction, truth)
    return matrix.counts


def whole_label_map(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """One full-size copy of all classes."""
    return enlarge(logits, DEC_STRIDE, size).max(1).indices


def main() -> None:
    """Prints a table and a JSON line."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--size", type=int, nargs=2, default=[360, 480], help="height and width")
    parser.add_argument("--classes", type=int, default=11)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repeats", type=int, default=10)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    size, classes = (options.size[0], options.size[1]), options.classes
    best = load_segmenter(BEST)[1].genotype
    assert best is not None
    cells = {"best CamVid cell": best, "low_latency": HAND_WRITTEN["low_latency"]}
    first, second = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0))
    cases: dict[str, Callable[[], object]] = {}
    for name, genotype in cells.items():
        plain = build(genotype, classes)
        for form, segmenter in (("plain", plain), ("optimised", optimized(plain))):
            if name == "low_latency":
                cases[f"static, {form}"] = lambda s=segmenter: s.step(first, key=True)  # type: ignore[misc]
            segmenter.step(first)
            cases[f"dynamic, {name}, {form}"] = lambda s=segmenter: s.step(second)  # type: ignore[misc]
    encoder = optimized(plain).static.encoder
    with torch.inference_mode():
        for stages in (2, 3, 4):
            cases[f"encoder to layer {stages}, optimised"] = lambda n=stages: encoder(first[None], n)  # type: ignore[misc]
        logits = optimized(plain).key(first[None]).pred
        cases["labels, whole"] = lambda: whole_label_map(logits, size)
        cases["labels, in bands"] = lambda: label_map(logits, size)
        labels, truth = label_map(logits, size), torch.randint(classes, (1, *size)).to(torch.uint8)
        cases["confusion matrix, NumPy"] = lambda: numpy_confusion(labels, truth, classes)
        cases["confusion matrix, ours"] = lambda: our_confusion(labels, truth, classes)
        assert torch.equal(numpy_confusion(labels, truth, classes), our_confusion(labels, truth, classes))
        cpu: dict[str, list[float]] = {name: [] for name in cases}
        wall: dict[str, list[float]] = {name: [] for name in cases}
        for repeat in range(options.repeats + 1):
            for name, case in cases.items():
                start = time.process_time(), time.perf_counter()
                case()
                if repeat:  # the first time chooses algorithms
                    cpu[name].append(1e3 * (time.process_time() - start[0]))
                    wall[name].append(1e3 * (time.perf_counter() - start[1]))
    base = min(cpu["static, plain"])
    print(f"{size[0]}x{size[1]}, {classes} classes, {options.threads} thread(s), {options.repeats} repeats; ms")
    print(f"{'':<40} {'CPU min / median':>20} {'wall min':>9} {'static, plain / this':>21}")
    for name in cases:
        times = f"{min(cpu[name]):.1f} / {statistics.median(cpu[name]):.1f}"
        print(f"{name:<40} {times:>20} {min(wall[name]):>9.1f} {base / min(cpu[name]):>21.2f}")
    print(json.dumps({"size": size, "threads": options.threads, "cpu_ms": {n: min(t) for n, t in cpu.items()}}))


if __name__ == "__main__":
    main()
