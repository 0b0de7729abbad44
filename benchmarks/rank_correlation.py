"""How far two seeds agree on which cells are good, at a constant rate and with the poly schedule.

    python benchmarks/rank_correlation.py --out FILE [--cells 20] [--seeds 2] dataset=camvid experiment=camvid_cpu \
        dataset.root=DIR static.weights=weights/camvid_cpu_static.safetensors [OVERRIDE ...]

Trains random cells as a search would, on cached features of meta-train, and scores them on meta-val: the same cells
with each schedule, every one with several seeds. A search is as good as the rank correlation of the seeds: what one
training of a cell says of the next one. Every training is appended to the file at once; started again, the script goes
on from there. The overrides are those of `search`.
"""

import argparse
import hashlib
import itertools
import json
import random
import statistics
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra import compose, initialize_config_dir

from vseg_nas.assembly.candidate_executors import build_evaluator
from vseg_nas.assembly.meta_features import build_meta_data
from vseg_nas.assembly.search_plan import build_space
from vseg_nas.cli.composition import conf_dir
from vseg_nas.cli.typed_config import typed_config
from vseg_nas.nas.pruners import NoPruner
from vseg_nas.nas.seeds import derive_seed
from vseg_nas.schema import SearchConfig
from vseg_nas.space import Genotype, SearchSpace
from vseg_nas.training.device import Device, open_device
from vseg_nas.training.settings import CellTraining, Schedule

SCHEDULES: tuple[Schedule, ...] = ("constant", "poly")
Scores = dict[tuple[int, int], float]
"""By cell and seed."""


def ranks(values: Sequence[float]) -> list[float]:
    """Of each value among all, from 1; equal ones share the mean of theirs."""
    ordered = sorted(values)
    return [ordered.index(value) + (ordered.count(value) + 1) / 2 for value in values]


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """Correlation of ranks.

    Raises:
        StatisticsError: all values of a side are equal.
    """
    return statistics.correlation(ranks(one), ranks(other))


def kendall(one: Sequence[float], other: Sequence[float]) -> float:
    """Kendall's tau-b: pairs in the same order less pairs in the opposite one, of those that are tied on neither side.

    Raises:
        ZeroDivisionError: all values of a side are equal.
    """

    def order(a: float, b: float) -> int:
        return (a > b) - (a < b)

    pairs = [(order(*x), order(*y)) for x, y in zip(*(itertools.combinations(v, 2) for v in (one, other)), strict=True)]
    untied = [sum(side != 0 for side in sides) for sides in zip(*pairs, strict=True)]
    return float(sum(x * y for x, y in pairs) / (untied[0] * untied[1]) ** 0.5)


def summary(scores: Scores, cells: int, seeds: int) -> dict[str, float]:
    """Of one schedule; deviations in points.

    Returns:
        ``over_seeds``: root of the mean variance over the seeds of a cell. ``over_cells``: standard deviation of the
        cells' means. ``spearman`` and ``kendall``: of the scores of two seeds, the mean over all pairs of seeds.
    """
    by_cell = [[scores[cell, seed] for seed in range(seeds)] for cell in range(cells)]
    by_seed = list(itertools.combinations(zip(*by_cell, strict=True), 2))
    return {
        "over_seeds": 100 * statistics.fmean(map(statistics.variance, by_cell)) ** 0.5,
        "over_cells": 100 * statistics.stdev(map(statistics.fmean, by_cell)),
        "spearman": statistics.fmean(spearman(one, other) for one, other in by_seed),
        "kendall": statistics.fmean(kendall(one, other) for one, other in by_seed),
    }


def different_cells(space: SearchSpace, count: int) -> list[Genotype]:
    """Random cells, no two of which are the same network."""
    rng, found = random.Random(0), dict[str, Genotype]()
    while len(found) < count:
        genotype = space.sample(rng)
        found.setdefault(genotype.key, genotype)
    return list(found.values())


def kept(path: Path, setup: str) -> dict[tuple[Schedule, str, int], float]:
    """Scores that a file holds, of the same setup; a line that was cut short counts for nothing."""
    found: dict[tuple[Schedule, str, int], float] = {}
    for line in path.read_text().splitlines() if path.exists() else ():
        try:
            entry: dict[str, Any] = json.loads(line)
        except json.JSONDecodeError:
            continue
        if entry["setup"] == setup:
            found[entry["schedule"], entry["cell"], entry["seed"]] = entry["score"]
    return found


def trained(
    config: SearchConfig, device: Device, cells: Sequence[Genotype], seeds: int, out: Path
) -> Iterator[tuple[Schedule, Scores]]:
    """Scores with each schedule; those that the file lacks are measured and appended."""
    root, training = Path(config.runs_dir) / "cache", config.phase.search
    data = build_meta_data(config, device, lambda clips, total: clips)
    caches = [cache.name for cache in data.features.caches]
    fit = training.model_dump(include=set(CellTraining.model_fields))
    parts = [fit | {"schedule": "constant", "reference_scores": config.reward.reference}, caches]
    setup = hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:12]
    evaluator = build_evaluator(data.features, training, device, NoPruner(), root, config.reward)
    known = kept(out, setup)
    whole = not out.exists() or out.read_bytes()[-1:] in (b"", b"\n")
    with out.open("a") as file:
        file.write("" if whole else "\n")
        for schedule in SCHEDULES:
            evaluator.training = training.model_copy(update={"schedule": schedule})
            scores: Scores = {}
            for (index, cell), seed in itertools.product(enumerate(cells), range(seeds)):
                score = known.get((schedule, cell.key, seed))
                if score is None:
                    start = time.monotonic()
                    score = evaluator.evaluate(cell, derive_seed(index, str(seed)), lambda *_: None).score
                    entry = {"setup": setup, "schedule": schedule, "cell": cell.key, "seed": seed, "score": score}
                    file.write(json.dumps(entry) + "\n")
                    file.flush()
                    seconds = time.monotonic() - start
                    print(f"{schedule}, cell {index}, seed {seed}: score {score:.4f}, {seconds:.0f} s", flush=True)
                scores[index, seed] = score
            yield schedule, scores


def main() -> None:
    """Prints a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="file that trainings are appended to")
    parser.add_argument("--cells", type=int, default=20)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("overrides", nargs="*", help="as for `search`")
    options = parser.parse_intermixed_args()
    if options.cells < 2 or options.seeds < 2:
        parser.error("--cells, --seeds: expected at least 2")
    with initialize_config_dir(str(conf_dir()), version_base="1.3"):
        config = typed_config(compose("search", overrides=options.overrides), SearchConfig)
    device = open_device(config.gpu)
    cells = different_cells(build_space(config), options.cells)
    found = dict(trained(config, device, cells, options.seeds, options.out))
    result: dict[str, Any] = {name: summary(scores, options.cells, options.seeds) for name, scores in found.items()}
    print(f"\n{options.cells} cells, {options.seeds} seeds; score on meta-val, deviations in points")
    print(f"{'':>9} {'over seeds':>11} {'over cells':>11} {'Spearman':>9} {'Kendall':>8}")
    for name, row in result.items():
        print(
            f"{name:>9} {row['over_seeds']:>11.2f} {row['over_cells']:>11.2f} "
            f"{row['spearman']:>9.2f} {row['kendall']:>8.2f}"
        )
    means = [
        [statistics.fmean(scores[cell, seed] for seed in range(options.seeds)) for cell in range(options.cells)]
        for scores in found.values()
    ]
    result["between"] = {"spearman": spearman(*means), "kendall": kendall(*means)}
    both = result["between"]
    print(f"means of the two schedules: Spearman {both['spearman']:.2f}, Kendall {both['kendall']:.2f}")
    print(json.dumps({"cells": options.cells, "seeds": options.seeds, **result}))


if __name__ == "__main__":
    main()
