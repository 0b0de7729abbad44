"""Candidates an hour with two workers against one: ``python benchmarks/ray_workers.py [ROUNDS]``.

Real short fits of one cell, one thread each, on features of 24 clips of three frames of 240x180 that both workers map
into memory. One and two workers take turns in one process. Counted from the first end of a candidate of each worker to
the moment when the last candidate is handed out, so that neither the start of Ray nor the idle end counts.
"""

import json
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch
from torch import nn

from vseg_nas.assembly.candidate_executors import CandidateFactory
from vseg_nas.data.feature_cache import CacheKey, StaticFeatures, write_cache
from vseg_nas.machine import describe
from vseg_nas.nas.executors.ray import CandidateResources, RayExecutor
from vseg_nas.nas.pruners import NoPruner
from vseg_nas.nas.settings import GeometricMeanSettings
from vseg_nas.nas.trial import Evaluation, Trial, TrialState
from vseg_nas.space import SearchSpace
from vseg_nas.training.device import Device
from vseg_nas.training.settings import CellTraining

CLASSES, HEIGHT, WIDTH, FRAMES = 11, 180, 240, 3
TRIALS_A_WORKER = 8


def draw_features(clips: int, seed: int) -> Iterator[StaticFeatures]:
    """Clips of the sizes that the static network gives, at random."""
    generator = torch.Generator().manual_seed(seed)

    def plane(channels: int, stride: int, *frames: int) -> torch.Tensor:
        return torch.randn(1, *frames, channels, -(-HEIGHT // stride), -(-WIDTH // stride), generator=generator)

    for _ in range(clips):
        masks = torch.randint(CLASSES, (1, FRAMES - 1, HEIGHT, WIDTH), generator=generator, dtype=torch.uint8)
        later = FRAMES - 1
        yield StaticFeatures(
            plane(320, 32),
            plane(64, 8),
            plane(32, 8),
            plane(32, 8, later),
            plane(96, 16, later),
            plane(320, 32, later),
            masks,
            torch.tensor([[HEIGHT, WIDTH]]),
        )


def build_factory(root: Path) -> CandidateFactory:
    """Two epochs of three batches."""
    folders = []
    for name, clips in (("train", 24), ("val", 8)):
        key = CacheKey(name, name, name, "fp32")
        write_cache(root, key, draw_features(clips, 0), clips)
        folders.append(root / key.digest)
    device = Device(threads=1)
    classifier = nn.Conv2d(64, CLASSES, 3, padding=1)
    return CandidateFactory(
        device, (folders[0], folders[1]), classifier, CellTraining(epochs=2, batch_size=8), GeometricMeanSettings()
    )


class Trials:
    """The same cell with another seed each time; knows when the last one was handed out."""

    def __init__(self, count: int) -> None:
        self._cell = SearchSpace(2).sample(random.Random(1))
        self._count = count
        self.last_drawn = float("inf")

    def __iter__(self) -> Iterator[Trial]:
        for id_ in range(self._count):
            if id_ == self._count - 1:
                self.last_drawn = time.monotonic()
            yield Trial(id_, self._cell, id_, TrialState.RUNNING)


def candidates_an_hour(factory: CandidateFactory, workers: int) -> tuple[float, float]:
    """And the mean seconds that a candidate took."""
    trials = Trials(workers * TRIALS_A_WORKER)
    executor = RayExecutor(factory, NoPruner(), CandidateResources(gpus=0, cpus=1), workers=workers)
    ends, seconds = list[float](), list[float]()
    waiting = iter(trials)
    with executor.session(lambda *progress: None):
        while len(ends) < workers * TRIALS_A_WORKER:
            while executor.has_room() and (trial := next(waiting, None)):
                executor.submit(trial)
            for _, result in executor.wait():
                assert isinstance(result, Evaluation)
                ends.append(time.monotonic())
                seconds.append(result.seconds)
    since, until = ends[workers - 1], trials.last_drawn
    counted = sum(since < end <= until for end in ends)
    return 3600 * counted / (until - since), statistics.mean(seconds)


def main() -> None:
    """Prints a table and a JSON line."""
    torch.set_num_threads(1)
    rounds = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    found: dict[int, list[float]] = {1: [], 2: []}
    print(f"{describe(torch.device('cpu'))}; {os.cpu_count()} cores; load before {os.getloadavg()[0]:.1f}")
    print(f"{'round':>5} {'workers':>7} {'candidates/h':>12} {'s each':>7} {'load':>5}")
    with tempfile.TemporaryDirectory() as folder:
        factory = build_factory(Path(folder))
        for index in range(rounds):
            for workers, rates in found.items():
                rate, seconds = candidates_an_hour(factory, workers)
                rates.append(rate)
                print(f"{index:>5} {workers:>7} {rate:>12.0f} {seconds:>7.2f} {os.getloadavg()[0]:>5.1f}", flush=True)
    ratios = [two / one for one, two in zip(found[1], found[2], strict=True)]
    print(f"two workers / one: median {statistics.median(ratios):.2f}, best {max(ratios):.2f}")
    print(json.dumps({"candidates_an_hour": found, "ratios": ratios}))


if __name__ == "__main__":
    main()
