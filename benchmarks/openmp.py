"""How idle OpenMP threads should wait: ``python benchmarks/openmp.py [--rounds 5] [--steps 6] [--busy 0]``.

``--ways default,package --threads 2`` measures these alone, so that more rounds fit into the same time.

Training steps of a random cell of five layers (seed 0, batch 8, 180x240 frames) in processes of their own, one for
each way of waiting and number of threads, interleaved. ``--busy N`` keeps N other processes computing meanwhile: a
machine that is not idle. Minimum and median of the wall time of a step over the rounds, process CPU time (median), and
the ratios of both to the first way with the same number of threads. "spin 10000" and "package" are the same to GNU's
OpenMP: what they differ by is noise. Prints a JSON line.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import time

WAYS = {
    "default": {},
    "passive": {"OMP_WAIT_POLICY": "PASSIVE"},
    "spin 1000": {"GOMP_SPINCOUNT": "1000"},
    "spin 10000": {"GOMP_SPINCOUNT": "10000"},
    "package": {"OMP_WAIT_POLICY": "PASSIVE", "GOMP_SPINCOUNT": "10000"},
}


def child(threads: int, steps: int) -> None:
    """Trains, and prints the wall and CPU seconds of a step; two steps go before."""
    import torch

    from vseg_nas.models.cell import INPUT_CHANNELS, DynamicCell
    from vseg_nas.nas.strategies.random import RandomSearch
    from vseg_nas.space import SearchSpace

    torch.set_num_threads(threads)
    torch.manual_seed(0)
    cell = DynamicCell(RandomSearch(SearchSpace(5, 64), 0).ask(1)[0])
    strides = (32, 8, 8, 16, 32)
    features = [
        torch.randn(8, channels, -(-180 // stride), -(-240 // stride))
        for channels, stride in zip(INPUT_CHANNELS, strides, strict=True)
    ]
    optimizer = torch.optim.Adam(cell.parameters(), 1e-3)

    def step() -> None:
        optimizer.zero_grad()
        cell(*features).square().mean().backward()
        optimizer.step()

    for _ in range(2):
        step()
    wall, cpu = time.perf_counter(), time.process_time()
    for _ in range(steps):
        step()
    print(json.dumps([(time.perf_counter() - wall) / steps, (time.process_time() - cpu) / steps]))


def run(way: str, threads: int, steps: int) -> tuple[float, float]:
    """One process of it."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("OMP_", "GOMP_"))}
    command = [sys.executable, __file__, "--child", str(threads), "--steps", str(steps)]
    out = subprocess.run(command, env=clean | WAYS[way], check=True, capture_output=True, text=True).stdout
    wall, cpu = json.loads(out)
    return wall, cpu


def main() -> None:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--busy", type=int, default=0)
    parser.add_argument(
        "--ways", default=",".join(WAYS), help="with commas; the first is what the others are compared with"
    )
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--child", type=int)
    args = parser.parse_args()
    if args.child is not None:
        child(args.child, args.steps)
        return
    spin = [sys.executable, "-c", "while True: pass"]
    others = [subprocess.Popen(spin) for _ in range(args.busy)]
    try:
        times: dict[str, list[tuple[float, float]]] = {}
        for _ in range(args.rounds):
            for threads in map(int, args.threads.split(",")):
                for way in args.ways.split(","):
                    times.setdefault(f"{threads} {way}", []).append(run(way, threads, args.steps))
    finally:
        for other in others:
            other.kill()
    rows = {}
    for name, pairs in times.items():
        walls, cpus = zip(*pairs, strict=True)
        reference = [wall for wall, _ in times[f"{name.split()[0]} {args.ways.split(',')[0]}"]]
        rows[name] = {
            "wall_min_ms": 1e3 * min(walls),
            "wall_median_ms": 1e3 * statistics.median(walls),
            "cpu_median_ms": 1e3 * statistics.median(cpus),
            "ratio_min": min(walls) / min(reference),
            "ratio_median": statistics.median(walls) / statistics.median(reference),
        }
        print(f"{name:14}", "  ".join(f"{key} {value:8.2f}" for key, value in rows[name].items()))
    print(json.dumps({"busy": args.busy, "cpus": os.cpu_count(), "steps": rows}))


if __name__ == "__main__":
    main()
