"""The feature cache: ``python benchmarks/features.py [--camvid DIR] [--score] [--threads 1]``.

Process CPU time and wall time, on clips of three frames at 180x240 (as once `experiment=camvid_cpu`); rendered
streets with random weights, or a folder of CamVid with the weights of the bundled checkpoint. Prints tables and a JSON
line:

- building and reading the cache in float32 and float16, clips and megabytes a second (masks are bytes at 1/8 in both);
- one epoch of a candidate on cached features, and the same epoch through frames and the frozen network, interleaved,
  the shorter of two each, for the first random cells of seed 0;
- with ``--score``: the score of a candidate trained for 8 epochs on each cache with the same seed.
"""

import argparse
import itertools
import json
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import torch

from vseg_nas.data import CamVid, Clip, ClipSource, InMemory, SyntheticStreet, training
from vseg_nas.data.feature_cache import StaticFeatures
from vseg_nas.models.cell import DynamicCell
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.nas.candidate import CandidateEvaluator
from vseg_nas.nas.pruners import NoPruner
from vseg_nas.nas.settings import GeometricMeanSettings
from vseg_nas.nas.strategies.random import RandomSearch
from vseg_nas.space import SearchSpace
from vseg_nas.training.cell_module import CellModule
from vseg_nas.training.features import FeatureBatches, cache_key, cached_features, extract
from vseg_nas.training.settings import CellTraining

WEIGHTS = Path(__file__).parents[1] / "weights" / "camvid_cpu_static.safetensors"
SIZE = (180, 240)
CLIPS, VAL_CLIPS, BATCH = 48, 12, 8
CPU = torch.device("cpu")


def timed(call: Callable[[], object]) -> tuple[float, float]:
    """CPU and wall seconds of one call."""
    starts = time.process_time(), time.perf_counter()
    call()
    return time.process_time() - starts[0], time.perf_counter() - starts[1]


def quiet(clips: Iterable[Clip], total: int) -> Iterator[Clip]:
    """Shows nothing."""
    yield from clips


class Cache:
    """Features of the first clips of a source in one precision."""

    def __init__(self, root: Path, network: StaticSegmenter, source: ClipSource, precision: str) -> None:
        self.root = root
        self.network = network
        self.source = source
        self.precision = precision
        self.transform = training(SIZE, (0.5, 0.5), False, 0.0)

    def open(self, first: int = 0, count: int = CLIPS, for_training: bool = True) -> StaticFeatures:
        """Computes them the first time, reads them after that."""
        indices = tuple(range(first, first + count))
        return cached_features(
            self.root,
            self.network,
            self.source,
            indices,
            self.transform,
            self.precision,
            CPU,
            quiet,
            for_training=for_training,
        )

    def megabytes(self) -> float:
        """Size on disk."""
        indices = tuple(range(CLIPS))
        key = cache_key(self.network, self.source, indices, self.transform, self.precision, for_training=True)
        return sum(file.stat().st_size for file in (self.root / key.digest).iterdir()) / 1e6


def building_and_reading(caches: dict[str, Cache]) -> dict[str, Any]:
    """Prints how fast caches are built and read."""
    print(
        f"{CLIPS} clips\n{'':>6} {'MB':>7} {'build s CPU':>12} {'wall':>7} {'clips/s':>8} {'read s wall':>12}"
        f" {'MB/s':>7}"
    )
    result = {}
    for name, cache in caches.items():
        cpu, wall = timed(cache.open)
        _, read = min(timed(cache.open) for _ in range(3))
        size = cache.megabytes()
        print(
            f"{name:>6} {size:>7.1f} {cpu:>12.2f} {wall:>7.2f} {CLIPS / wall:>8.1f} {read:>12.3f} {size / read:>7.0f}"
        )
        result[name] = {"mb": size, "build_cpu_s": cpu, "build_wall_s": wall, "read_wall_s": read}
    return result


def epochs(cache: Cache, repeats: int) -> dict[str, Any]:
    """Prints one epoch on cached features against the same through frames and the frozen network, over a few cells."""
    print(f"\none epoch, {CLIPS} clips in batches of {BATCH}, one step of Adam each, CPU / wall s")
    features = cache.open()

    def cached() -> Iterator[StaticFeatures]:
        yield from FeatureBatches(features, BATCH)

    def through_frames() -> Iterator[StaticFeatures]:
        for start in range(0, CLIPS, BATCH):
            clips = [cache.transform(cache.source[index]) for index in range(start, start + BATCH)]
            parts = [extract(cache.network, clip, CPU, for_training=True) for clip in clips]
            arrays = [torch.cat([getattr(part, name) for part in parts]).clone() for name in parts[0].arrays()]
            yield StaticFeatures(*arrays)

    result = []
    for genotype in RandomSearch(SearchSpace(5), seed=0).ask(repeats):
        torch.manual_seed(0)
        module = CellModule(DynamicCell(genotype), cache.network.decoder.classifier, CellTraining())
        optimizer = torch.optim.Adam(
            module.cell.parameters(), module.options.lr, weight_decay=module.options.weight_decay
        )

        def run(batches: Callable[[], Iterator[StaticFeatures]]) -> None:
            for index, batch in enumerate(batches()):
                optimizer.zero_grad()  # noqa: B023
                module.training_step(batch, index).backward()  # type: ignore[no-untyped-call]  # noqa: B023
                optimizer.step()  # noqa: B023

        forms = (cached, through_frames)
        run(lambda: itertools.islice(cached(), 1))  # oneDNN makes its kernels when they are first used
        rounds = [{form.__name__: timed(lambda form=form: run(form)) for form in forms} for _ in range(2)]  # type: ignore[misc]
        times = {form.__name__: min(one[form.__name__] for one in rounds) for form in forms}
        reading = {form.__name__: timed(lambda form=form: list(form())) for form in forms}  # type: ignore[misc]
        ratio = times["through_frames"][0] / times["cached"][0]
        cached_s, frames_s = ("{:.2f} / {:.2f}".format(*times[form]) for form in ("cached", "through_frames"))
        print(
            f"cached {cached_s} (features {reading['cached'][0]:.3f}), "
            f"through frames {frames_s} (features {reading['through_frames'][0]:.2f}): {ratio:.2f} times"
        )
        result.append({"cached_s": times["cached"], "frames_s": times["through_frames"], "ratio": ratio})
    return {"epochs": result}


def scores(caches: dict[str, Cache], cells: int) -> dict[str, Any]:
    """Prints scores of cells trained on each cache with the same seeds."""
    print("\nscore of a cell trained 8 epochs, per cent")
    result: dict[str, list[float]] = {}
    for name, cache in caches.items():
        evaluator = CandidateEvaluator(
            cache.open(),
            cache.open(CLIPS, VAL_CLIPS, for_training=False),
            cache.network.decoder.classifier,
            CellTraining(epochs=8, batch_size=BATCH),
            NoPruner(),
            Path("."),
            GeometricMeanSettings(),
            accelerator="cpu",
            devices=1,
        )
        genotypes = RandomSearch(SearchSpace(5), seed=1).ask(cells)
        result[name] = [
            100 * evaluator.evaluate(genotype, seed, lambda *_: None).score for seed, genotype in enumerate(genotypes)
        ]
        print(f"{name:>6}", " ".join(f"{score:.2f}" for score in result[name]))
    return {"scores": result}


def main() -> None:
    """Prints the tables and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--camvid", type=Path, help="folder of CamVid")
    parser.add_argument("--score", action="store_true")
    parser.add_argument("--cells", type=int, default=2, help="of the scores")
    parser.add_argument("--threads", type=int, default=1)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    source: ClipSource
    if args.camvid:
        source, network = CamVid(args.camvid, "train", 3, 3), StaticSegmenter.load(WEIGHTS)
    else:
        source = InMemory(SyntheticStreet(CLIPS + VAL_CLIPS, 3, (2 * SIZE[0], 2 * SIZE[1]), 0, "train", 10))
        network = StaticSegmenter(source.classes)
    network.freeze()
    with tempfile.TemporaryDirectory() as folder:
        caches = {name: Cache(Path(folder), network, source, name) for name in ("fp32", "fp16")}
        result: dict[str, Any] = building_and_reading(caches)
        result |= epochs(caches["fp32"], 6)
        if args.score:
            result |= scores(caches, args.cells)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
