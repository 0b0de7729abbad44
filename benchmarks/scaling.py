"""How a search would scale to 1000 devices, in virtual time: ``python benchmarks/scaling.py [PICTURE]``.

Measures what one trial costs the process of the search: asking, learning, keeping the state, three commits. Then runs
the real search loop with devices that only pretend: a clock advances by those costs and by durations drawn from the
candidates of a real search (docs/results/camvid_cpu_trials.csv), scaled to the mean of the paper's.
"""

import csv
import heapq
import io
import json
import math
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import matplotlib as mpl
import torch

from vseg_nas.machine import describe
from vseg_nas.nas.executors.executor import Attempt, OnEpoch
from vseg_nas.nas.fake import FakeEvaluator
from vseg_nas.nas.loop import SearchLoop
from vseg_nas.nas.pruners import NoPruner
from vseg_nas.nas.settings import Budget
from vseg_nas.nas.store import TrialStore
from vseg_nas.nas.strategies.base import build_strategy
from vseg_nas.nas.strategies.random import RandomSearch
from vseg_nas.nas.strategies.settings import PPOSettings, ReinforceSettings, StrategySettings
from vseg_nas.nas.trial import Evaluation, Trial, TrialState
from vseg_nas.space import Genotype, SearchSpace

SPACE = SearchSpace(5)
DEVICES = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1000)
CONTROLLERS: dict[str, StrategySettings] = {
    "ppo": PPOSettings(),
    "ppo, minibatches of 25": PPOSettings(minibatch_size=25),
    "reinforce": ReinforceSettings(),
}
MODES = {"async": 1, "batch": 1, "batch x4": 4}
"""Cells asked for at once, for each device."""
MEAN_S = 2 * 86400 / 2000
"""Of a candidate: the paper's two GPU-days over the 2000 trials that we assume, since it states no number."""
MESSAGE_S = 1e-3  # a call of a Ray actor, measured on this machine: 0.6-0.8 ms
TOLD = 100
LINKS = {"10 Gbit/s": 1.25e9, "100 Gbit/s": 12.5e9}
"""Bytes a second, assumed."""
NODES = (1, 8, 32, 125)
REPEATS = 7
COMMITS = 50
TRIALS_CSV = Path(__file__).parents[1] / "docs/results/camvid_cpu_trials.csv"


@dataclass(frozen=True)
class Costs:
    """Seconds that the process of the search spends on parts of a trial.

    Attributes:
        ask: for one cell, asked for alone.
        ask_more: for each further cell of a batch.
        learn: from one reward.
        snapshot: to serialize the state, after asking and after learning.
        commit: of one transaction of the trial store.
    """

    ask: float
    ask_more: float
    learn: float
    snapshot: float
    commit: float

    @property
    def trial(self) -> float:
        """All of a trial that is asked for alone."""
        return self.ask + self.learn + 2 * self.snapshot + 3 * self.commit + 2 * MESSAGE_S


def median_of(clock: Callable[[], float], act: Callable[[], object]) -> float:
    """Seconds; the first call does not count."""
    times = []
    for _ in range(1 + REPEATS):
        start = clock()
        act()
        times.append(clock() - start)
    return statistics.median(times[1:])


def measure(settings: StrategySettings) -> Costs:
    """Costs with a controller that has been told `TOLD` trials: CPU time, and wall time of a commit."""
    strategy, asking = build_strategy(settings, SPACE, 0), build_strategy(settings, SPACE, 1)
    rng = random.Random(0)
    if settings.name == "ppo":  # as if told
        rows = [((SPACE.sample(rng).tokens, -45.0), rng.random()) for _ in range(TOLD)]
        strategy.load_state_dict(strategy.state_dict() | {"buffer": rows})
    waiting = strategy.ask(1 + REPEATS)

    def learn() -> None:
        cell = waiting.pop()
        score = rng.random()
        evaluation = Evaluation(score, score, score, score, 0, 0, 0.0, 1)
        strategy.tell([Trial(0, cell, 0, TrialState.RUNNING).completed(evaluation)])

    def serialize() -> bytes:
        buffer = io.BytesIO()
        torch.save({"strategy": strategy.state_dict()}, buffer)
        return buffer.getvalue()

    cpu = time.process_time
    learning = median_of(cpu, learn)
    ask, ask_many = median_of(cpu, lambda: asking.ask(1)), median_of(cpu, lambda: asking.ask(101))
    return Costs(
        ask, max(0.0, ask_many - ask) / 100, learning, median_of(cpu, serialize), commit_seconds(serialize(), waiting)
    )


def commit_seconds(state: bytes, cells: Sequence[Genotype]) -> float:
    """Least wall time of the transaction that ends a trial, on the disk of the temporary folder."""
    with tempfile.TemporaryDirectory() as folder, TrialStore(Path(folder) / "search.sqlite") as store:
        trial = Trial(0, SPACE.sample(random.Random(0)), 0, TrialState.RUNNING)
        store.add([trial], state)
        times = []
        for _ in range(COMMITS):
            start = time.monotonic()
            store.finish(trial, state)
            times.append(time.monotonic() - start)
        return min(times)


class Clock:
    """Virtual seconds of the search's process."""

    def __init__(self) -> None:
        self.now = 0.0

    def spend(self, seconds: float) -> None:
        """Nothing else happens in this process meanwhile."""
        self.now += seconds


class CostlyStrategy(RandomSearch):
    """Draws at random, and takes the time of another controller."""

    def __init__(self, clock: Clock, costs: Costs) -> None:
        super().__init__(SPACE, 0)
        self._clock = clock
        self._costs = costs

    def ask(self, n: int) -> list[Genotype]:
        """See `Strategy`."""
        self._clock.spend(self._costs.ask + (n - 1) * self._costs.ask_more)
        return super().ask(n)

    def tell(self, trials: Sequence[Trial]) -> None:
        """See `Strategy`."""
        self._clock.spend(len(trials) * self._costs.learn)


class CostlyStore(TrialStore):
    """Waits for no disk, and takes the time of one that does."""

    def __init__(self, path: Path, clock: Clock, costs: Costs) -> None:
        super().__init__(path)
        self._connection.execute("PRAGMA synchronous = OFF")
        self._clock = clock
        self._costs = costs

    def add(self, trials: Iterable[Trial], snapshot: bytes) -> None:
        """See `TrialStore`."""
        self._clock.spend(self._costs.snapshot + self._costs.commit)
        super().add(trials, snapshot)

    def finish(self, trial: Trial, snapshot: bytes, attempts: int | None = None) -> None:
        """See `TrialStore`."""
        self._clock.spend(self._costs.snapshot + self._costs.commit)
        super().finish(trial, snapshot, attempts)

    def set_attempts(self, trial: Trial, attempts: int) -> None:
        """See `TrialStore`."""
        self._clock.spend(self._costs.commit)
        super().set_attempts(trial, attempts)


class VirtualDevices:
    """An executor whose candidates take drawn seconds of virtual time.

    Attributes:
        ends: when the search was told of each end.
        last_drawn: when the last candidate was handed out.
    """

    def __init__(self, devices: int, clock: Clock, durations: Sequence[float]) -> None:
        self._devices = devices
        self._clock = clock
        self._durations = durations
        self._evaluator = FakeEvaluator(SPACE.sample(random.Random(0)))
        self.ends: list[float] = []
        self.last_drawn = 0.0

    @contextmanager
    def session(self, on_epoch: OnEpoch) -> Iterator[None]:
        """See `Executor`."""
        self._rng = random.Random(0)
        self._running: list[tuple[float, int, Trial]] = []
        yield

    def has_room(self) -> bool:
        """See `Executor`."""
        return len(self._running) < self._devices

    def submit(self, trial: Trial) -> None:
        """See `Executor`."""
        self._clock.spend(MESSAGE_S)
        self.last_drawn = self._clock.now
        heapq.heappush(self._running, (self._clock.now + self._rng.choice(self._durations), trial.id, trial))

    def wait(self) -> list[Attempt]:
        """See `Executor`."""
        end, _, trial = heapq.heappop(self._running)
        self._clock.now = max(self._clock.now, end)
        self._clock.spend(MESSAGE_S)
        self.ends.append(self._clock.now)
        return [Attempt(trial, self._evaluator.evaluate(trial.genotype, trial.seed, lambda *progress: None))]


def trials_an_hour(devices: int, mode: str, costs: Costs, durations: Sequence[float]) -> float:
    """Of a search in batches, or of an asynchronous one once all devices are busy."""
    clock = Clock()
    rounds = 4 * max(1, 50 // devices)
    executor = VirtualDevices(devices, clock, durations)
    with (
        tempfile.TemporaryDirectory() as folder,
        CostlyStore(Path(folder) / "search.sqlite", clock, costs) as store,
    ):
        SearchLoop(
            CostlyStrategy(clock, costs),
            executor,
            NoPruner(),
            store,
            seed=0,
            budget=Budget(rounds * devices),
            batch=MODES[mode] * devices,
            asynchronous=mode == "async",
        ).run()
    if mode != "async":
        return 3600 * rounds * devices / clock.now
    since = executor.ends[devices - 1]
    return 3600 * sum(since < end <= executor.last_drawn for end in executor.ends) / (executor.last_drawn - since)


def load_durations() -> list[float]:
    """Seconds of candidates that were trained, scaled to `MEAN_S`."""
    with TRIALS_CSV.open() as file:
        seconds = [float(row["seconds"]) for row in csv.DictReader(file) if row["seconds"] and float(row["seconds"])]
    return [MEAN_S * each / statistics.mean(seconds) for each in seconds]


def feature_bytes(clips: int, frames: int, size: tuple[int, int], feature: int, for_training: bool) -> int:
    """Of a cache: see `StaticFeatures`; ``feature`` bytes a number."""
    at = {stride: math.prod(-(-side // stride) for side in size) for stride in (8, 16, 32)}
    key = 320 * at[32] + 64 * at[8]
    later = 32 * at[8] + 96 * at[16] + 320 * at[32]
    mask = at[8] if for_training else math.prod(size)
    return clips * (feature * key + (frames - 1) * (feature * later + mask))


def paper_features() -> dict[str, dict[str, int]]:
    """Bytes of the paper's two searches: meta-train and meta-val, 9 to 1, in both precisions."""
    parts = {
        "CamVid": ((322, 3, (400, 600)), (35, 3, (360, 480))),
        "CityScapes": ((2678, 2, (512, 512)), (297, 2, (512, 1024))),
    }
    return {
        name: {
            precision: feature_bytes(*train, width, True) + feature_bytes(*val, width, False)
            for precision, width in (("fp16", 2), ("fp32", 4))
        }
        for name, (train, val) in parts.items()
    }


def broadcast_seconds(size: float, nodes: int, link: float) -> dict[str, float]:
    """Until every node has the features: sent by one node to all, or passed on by all that have them."""
    return {"by one": nodes * size / link, "passed on": math.ceil(math.log2(nodes + 1)) * size / link}


def draw(rates: dict[str, dict[str, list[float]]], costs: dict[str, Costs], path: Path) -> None:
    """Trials an hour and the share of the ideal against devices."""
    mpl.use("Agg")
    from matplotlib import pyplot as plt

    figure, (left, right) = plt.subplots(1, 2, figsize=(11, 4.8), layout="constrained")
    ideal = [devices * 3600 / MEAN_S for devices in DEVICES]
    left.plot(DEVICES, ideal, color="0.6", linewidth=1, label="ideal")
    for index, (name, by_mode) in enumerate(rates.items()):
        for mode, found in by_mode.items():
            style = {
                "color": f"C{index}",
                "linestyle": {"async": "-", "batch": "--", "batch x4": ":"}[mode],
                "marker": "o",
                "markersize": 3,
            }
            left.plot(DEVICES, found, label=f"{name}, {mode}", **style)
            right.plot(DEVICES, [100 * rate / best for rate, best in zip(found, ideal, strict=True)], **style)
        left.axhline(3600 / costs[name].trial, color=f"C{index}", linewidth=0.6, alpha=0.6)
    left.set(
        xscale="log",
        yscale="log",
        xlabel="devices",
        ylabel="trials an hour",
        title="thin lines: what one writer can do",
    )
    right.set(xscale="log", ylim=(0, 105), xlabel="devices", ylabel="% of ideal")
    figure.legend(loc="outside lower center", ncols=5, fontsize=8, frameon=False)
    for axes in (left, right):
        axes.spines[["top", "right"]].set_visible(False)
        axes.grid(alpha=0.25)
    figure.suptitle(
        f"Simulated: candidates of {MEAN_S:.0f} s on average, costs of the controller and the store measured"
    )
    figure.savefig(path, dpi=110)


def main() -> None:
    """Prints tables and a JSON line, and draws the picture if it is given a path."""
    torch.set_num_threads(1)
    durations = load_durations()
    spread = statistics.stdev(durations) / statistics.mean(durations)
    print(f"{describe(torch.device('cpu'))}; load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
    print(f"candidates: {MEAN_S:.1f} s on average, standard deviation {100 * spread:.0f} %, {len(durations)} durations")
    costs = {label: measure(settings) for label, settings in CONTROLLERS.items()}
    print(f"\n{'ms':>24} {'ask':>6} {'+1':>6} {'learn':>7} {'state':>6} {'commit':>6} {'trial':>7} {'trials/h <=':>11}")
    for label, c in costs.items():
        parts = "".join(
            f" {1e3 * each:>{width}.2f}" for each, width in zip(asdict(c).values(), (6, 6, 7, 6, 6), strict=True)
        )
        print(f"{label:>24}{parts} {1e3 * c.trial:>7.1f} {3600 / c.trial:>11.0f}")
    rates: dict[str, dict[str, list[float]]] = {}
    print(f"\n{'trials an hour':>24} {'':>8}" + "".join(f" {devices:>6}" for devices in DEVICES))
    print(f"{'ideal':>24} {'':>8}" + "".join(f" {devices * 3600 / MEAN_S:>6.0f}" for devices in DEVICES))
    for label, c in costs.items():
        rates[label] = {mode: [trials_an_hour(n, mode, c, durations) for n in DEVICES] for mode in MODES}
        for mode, found in rates[label].items():
            print(f"{label:>24} {mode:>8}" + "".join(f" {rate:>6.0f}" for rate in found), flush=True)
    features = paper_features()
    print(f"\n{'features':>12} {'fp16 GB':>8} {'fp32 GB':>8}")
    for name, sizes in features.items():
        print(f"{name:>12} {sizes['fp16'] / 1e9:>8.2f} {sizes['fp32'] / 1e9:>8.2f}")
    print(f"\n{'s to all nodes':>16}" + "".join(f" {nodes:>7}" for nodes in NODES) + "   CityScapes, fp16")
    for link, speed in LINKS.items():
        for how in ("by one", "passed on"):
            waits = [broadcast_seconds(features["CityScapes"]["fp16"], nodes, speed)[how] for nodes in NODES]
            print(f"{link:>10} {how:>9}"[:20].rjust(20) + "".join(f" {wait:>7.1f}" for wait in waits))
    if len(sys.argv) > 1:
        draw(rates, costs, Path(sys.argv[1]))
    result = {"costs_s": {label: asdict(c) for label, c in costs.items()}, "devices": DEVICES, "trials_an_hour": rates}
    print(json.dumps(result | {"features_bytes": features}))


if __name__ == "__main__":
    main()
