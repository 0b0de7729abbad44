"""What a search costs besides training: ``python benchmarks/search.py [--camvid DIR] [--long]``.

One thread. Four tables and a JSON line:

- cost of a trial with the fake evaluator, in the first and the last tenth of searches of growing size, and memory;
- fixed cost of a real trial: everything but training steps and scoring. That is asking, building, Trainer, counting
  MACs, the store, the terminal, collecting garbage, and what grows with the steps: Lightning's loop around them and,
  shown apart, reading their batches; random search, because the update of PPO is measured in `controller.py`. On
  features of 32x32 pixels, and of 180x240 (as once `experiment=camvid_cpu`: 108 and 12 clips of 3);
- memory over real trials;
- with ``--camvid``: trials an hour of `experiment=camvid_cpu` on the real features, all cores, pruner=median.

``--long`` runs searches of 10,000 fake and 100 real trials.
"""

import argparse
import gc
import io
import json
import statistics
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest.mock import patch

import psutil
import torch
from rich.console import Console
from torch import nn

from vseg_nas.console.live import LiveView
from vseg_nas.data import CamVid, meta_split, resized, training
from vseg_nas.data.feature_cache import StaticFeatures
from vseg_nas.metrics.clip_scores import ClipScores
from vseg_nas.models.cell import DynamicCell
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.nas.candidate import CandidateEvaluator
from vseg_nas.nas.executors.serial import SerialExecutor
from vseg_nas.nas.fake import FakeEvaluator
from vseg_nas.nas.listener import SearchListener
from vseg_nas.nas.loop import SearchLoop
from vseg_nas.nas.pruners import NoPruner, Pruner, build_pruner
from vseg_nas.nas.settings import Budget, GeometricMeanSettings, MedianSettings
from vseg_nas.nas.store import TrialStore
from vseg_nas.nas.strategies.base import build_strategy
from vseg_nas.nas.strategies.settings import PPOSettings, RandomSettings, StrategySettings
from vseg_nas.nas.trial import Evaluator, Trial
from vseg_nas.space import Genotype, SearchSpace
from vseg_nas.training.cell_module import CellModule
from vseg_nas.training.features import cached_features
from vseg_nas.training.settings import CellTraining

SPACE = SearchSpace(5)
WEIGHTS = Path(__file__).parents[1] / "weights" / "camvid_cpu_static.safetensors"
CAMVID_CPU = CellTraining(epochs=8, batch_size=8)


class Trace:
    """A listener that notes the wall time, CPU time and memory at the end of each trial."""

    def __init__(self) -> None:
        self.marks: list[tuple[float, float, float]] = []

    def mark(self) -> None:
        """Notes the present."""
        rss = psutil.Process().memory_info().rss / 2**20
        self.marks.append((time.perf_counter(), time.process_time(), rss))

    def on_start(self, trials: Sequence[Trial], budget: Budget) -> None:
        """Where the first trial begins."""
        self.mark()

    def on_trial_start(self, trial: Trial) -> None:
        """Nothing."""

    def on_epoch(self, trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
        """Nothing."""

    def on_trial_end(self, trial: Trial, trials: Sequence[Trial], diagnostics: dict[str, float]) -> None:
        """One mark for each trial."""
        self.mark()

    def on_end(self, trials: Sequence[Trial]) -> None:
        """Nothing."""

    def tenth(self, index: int) -> dict[str, float]:
        """Means over a tenth of the trials, and the memory at its end."""
        count = len(self.marks) - 1
        first, last = self.marks[index * count // 10], self.marks[(index + 1) * count // 10]
        trials = (index + 1) * count // 10 - index * count // 10
        wall, cpu = ((b - a) / trials for a, b in zip(first[:2], last[:2], strict=True))
        return {"wall_ms": 1e3 * wall, "cpu_ms": 1e3 * cpu, "rss_mib": last[2]}


def search(evaluator: Evaluator, trials: int, strategy: StrategySettings, pruner: Pruner | None = None) -> Trace:
    """A whole search with a store on disk and the plain lines of the live view."""
    trace = Trace()
    with tempfile.TemporaryDirectory() as folder, TrialStore(Path(folder) / "search.sqlite") as store:
        listeners: list[SearchListener] = [LiveView(Console(file=io.StringIO())), trace]
        SearchLoop(
            build_strategy(strategy, SPACE, 0),
            SerialExecutor(evaluator),
            pruner or NoPruner(),
            store,
            seed=0,
            budget=Budget(trials),
            listeners=listeners,
        ).run()
    return trace


def growing_searches(sizes: Iterable[int]) -> dict[str, Any]:
    """Does a trial cost as much at the end of a long search as at the beginning?"""
    print(f"\nfake evaluator, ms a trial\n{'':>24} {'first tenth':>18} {'last tenth':>18} {'MiB, each tenth':>20}")
    result = {}
    strategies: list[StrategySettings] = [RandomSettings(), PPOSettings(minibatch_size=100)]
    for size in sizes:
        for strategy in strategies:
            evaluator = FakeEvaluator(SPACE.genotype([0, 1, 0, 0, 0] * SPACE.layers))
            trace = search(evaluator, size, strategy)
            parts = [trace.tenth(index) for index in range(10)]
            cells = [f"{p['cpu_ms']:.1f} CPU {p['wall_ms']:.1f} wall" for p in (parts[0], parts[-1])]
            name = f"{size} trials, {strategy.name}"
            memory = " ".join(f"{p['rss_mib']:.0f}" for p in parts)
            print(f"{name:>24} {cells[0]:>18} {cells[1]:>18}   {memory}")
            result[name] = parts
    return result


class Reading:
    """CPU seconds spent on reading batches, over all trials."""

    def __init__(self) -> None:
        self.seconds = 0.0

    @contextmanager
    def watched(self) -> Iterator[None]:
        """Times `StaticFeatures.take`, but for what `score` reads."""
        take = StaticFeatures.take

        def timed(features: StaticFeatures, indices: torch.Tensor) -> StaticFeatures:
            since = time.process_time()
            taken = take(features, indices)
            self.seconds += time.process_time() - since if features.masks.shape[-1] == features.layer2.shape[-1] else 0
            return taken

        with patch.object(StaticFeatures, "take", timed):
            yield


class TimedModule(CellModule):
    """Adds up what is not fixed cost: steps and scoring, in wall and CPU seconds."""

    spent: list[float]

    def on_train_batch_start(self, batch: Any, batch_idx: int) -> None:
        """A step begins."""
        self._since = _now()

    def on_train_batch_end(self, outputs: Any, batch: Any, batch_idx: int) -> None:
        """A step has ended."""
        self.add(self._since)

    def score(self, batches: Iterable[StaticFeatures]) -> ClipScores:
        """Scores, timed."""
        since = _now()
        scores = super().score(batches)
        self.add(since)
        return scores

    def add(self, since: tuple[float, float]) -> None:
        """Adds the time from ``since`` to now."""
        for index, (before, after) in enumerate(zip(since, _now(), strict=True)):
            self.spent[index] += after - before


def _now() -> tuple[float, float]:
    return time.perf_counter(), time.process_time()


class TimedEvaluator(CandidateEvaluator):
    """Builds timed modules; ``spent`` is one (wall, CPU) pair for each trial."""

    spent: list[list[float]]

    def build(self, genotype: Genotype, seed: int) -> CellModule:
        """As the plain one, with a stop-watch."""
        self.spent.append([0.0, 0.0])
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            module = TimedModule(DynamicCell(genotype), self.classifier, self.training, self.past)
        module.spent = self.spent[-1]
        return module


def random_features(
    clips: int, height: int, width: int, classes: int = 11, for_training: bool = False
) -> StaticFeatures:
    """Noise in the shapes and the layout of cached features of clips of three frames."""
    sizes = {stride: (-(-height // stride), -(-width // stride)) for stride in (8, 16, 32)}

    def planes(*shape: int) -> torch.Tensor:
        return torch.randn(*shape[:-3], *shape[-2:], shape[-3]).movedim(-1, -3)

    return StaticFeatures(
        planes(clips, 320, *sizes[32]),
        planes(clips, 64, *sizes[8]),
        planes(clips, 32, *sizes[8]),
        planes(clips, 2, 32, *sizes[8]),
        planes(clips, 2, 96, *sizes[16]),
        planes(clips, 2, 320, *sizes[32]),
        torch.randint(classes, (clips, 2, *(sizes[8] if for_training else (height, width)))).to(torch.uint8),
        torch.tensor([[height, width]] * clips),
    )


def evaluator(train: StaticFeatures, val: StaticFeatures, training: CellTraining) -> TimedEvaluator:
    """The real evaluator on features."""
    torch.manual_seed(0)
    classifier = nn.Conv2d(64, 11, 3, padding=1)
    made = TimedEvaluator(
        train,
        val,
        classifier,
        training,
        NoPruner(),
        Path("."),
        GeometricMeanSettings(),
        accelerator="cpu",
        devices=1,
        precision="32-true",
    )
    made.spent = []
    return made


def fixed_costs(name: str, timed: TimedEvaluator, trials: int) -> dict[str, Any]:
    """Prints the fixed cost of real trials; the first one, which imports and warms up, is left out."""
    reading = Reading()
    with reading.watched():
        trace = search(timed, trials, RandomSettings())
    read = 1e3 * reading.seconds / trials
    rows = []
    for (wall0, cpu0, _), (wall, cpu, _), spent in zip(trace.marks[1:], trace.marks[2:], timed.spent[1:], strict=False):
        rows.append((wall - wall0, cpu - cpu0, wall - wall0 - spent[0], cpu - cpu0 - spent[1]))
    whole_wall, whole_cpu, fixed_wall, fixed_cpu = (
        1e3 * statistics.median(column) for column in zip(*rows, strict=True)
    )
    memory = [trace.tenth(index)["rss_mib"] for index in range(10)] if trials >= 10 else []
    print(
        f"{name:>40} {whole_cpu:>9.0f} {whole_wall:>9.0f} {fixed_cpu:>9.1f} {fixed_wall:>9.1f} {read:>10.1f}"
        f" {fixed_cpu / whole_cpu:>7.1%}   {' '.join(f'{m:.0f}' for m in memory)}"
    )
    return {
        "trial_cpu_ms": whole_cpu,
        "trial_wall_ms": whole_wall,
        "fixed_cpu_ms": fixed_cpu,
        "fixed_wall_ms": fixed_wall,
        "of_that_reading_batches_cpu_ms": read,
        "rss_mib": memory,
    }


def camvid(root: Path, trials: int) -> dict[str, Any]:
    """Trials an hour of `experiment=camvid_cpu`, on all cores; a few are not a search, so the pace is an estimate."""
    torch.set_num_threads(psutil.cpu_count() or 1)
    source = CamVid(root, "train", 3, 3)
    network = StaticSegmenter.load(WEIGHTS).freeze()
    split = meta_split(source, 0.1, "random", 0)
    pruner = build_pruner(MedianSettings(), 0)
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        parts = (
            (split.train, training((180, 240), (0.5, 0.5), False, 0.0), True),
            (split.val, resized((180, 240)), False),
        )
        cpu = torch.device("cpu")
        train, val = (
            cached_features(Path(folder), network, source, indices, how, "fp32", cpu, _quiet, for_training=for_training)
            for indices, how, for_training in parts
        )
        features_s = time.perf_counter() - started
        real = CandidateEvaluator(
            train,
            val,
            network.decoder.classifier,
            CAMVID_CPU,
            pruner,
            Path(folder),
            GeometricMeanSettings(),
            accelerator="cpu",
            devices=1,
        )
        trace = search(real, trials, PPOSettings(), pruner)
    wall = trace.marks[-1][0] - trace.marks[0][0]
    pace = 3600 * trials / wall
    print(f"\nCamVid: features {features_s:.1f} s; {trials} trials {wall:.1f} s wall: {pace:.0f} an hour")
    return {"features_s": features_s, "trials": trials, "seconds": wall, "trials_an_hour": pace}


def _quiet(clips: Iterable[Any], total: int) -> Iterator[Any]:
    yield from clips


def main() -> None:
    """Prints the tables and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--camvid", type=Path, help="folder of CamVid")
    parser.add_argument("--long", action="store_true")
    args = parser.parse_args()
    torch.set_num_threads(1)
    result: dict[str, Any] = {"fake": growing_searches((100, 1000, 10_000) if args.long else (100, 1000))}
    gc.collect()
    print(
        f"\nreal evaluator, ms a trial (medians)\n{'':>40} {'trial CPU':>9} {'wall':>9} {'fixed CPU':>9} {'wall':>9}"
        f" {'batches':>10} {'share':>7}   MiB, each tenth"
    )
    tiny = evaluator(
        random_features(4, 32, 32, for_training=True), random_features(2, 32, 32), CellTraining(epochs=2, batch_size=4)
    )
    sized = evaluator(random_features(108, 180, 240, for_training=True), random_features(12, 180, 240), CAMVID_CPU)
    result["tiny"] = fixed_costs("32x32, 4 clips, 2 epochs", tiny, 100 if args.long else 30)
    result["camvid_cpu"] = fixed_costs("180x240, 108 clips, 8 epochs", sized, 3)
    if args.camvid:
        result["camvid"] = camvid(args.camvid, 5)
    print(json.dumps(result))


if __name__ == "__main__":
    main()
