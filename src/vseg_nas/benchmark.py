"""Times networks (Table 5): ``python -m vseg_nas.benchmark checkpoint=FILE`` or ``cell=...``, ``size=[1024,2048]``."""

from __future__ import annotations

import datetime
import shlex
import sys
from pathlib import Path

from vseg_nas.assembly.cells import resolve_cell
from vseg_nas.command_line import several
from vseg_nas.config import command
from vseg_nas.errors import ConfigError, DataError
from vseg_nas.schema import BenchmarkConfig


def _preflight(config: BenchmarkConfig) -> None:
    for path in config.checkpoint or ():
        if not Path(path).is_file():
            hint = several("checkpoint", path)
            raise DataError(f"checkpoint: found no file {path}, expected one that `train` wrote{hint}")
    if config.cell is not None:
        resolve_cell(config.cell, config.flow)
    elif config.flow:
        raise ConfigError("flow: found true without cell=, expected a cell to warp for; a checkpoint has its own")


@command("benchmark", BenchmarkConfig, _preflight)
def main(config: BenchmarkConfig, run_dir: Path) -> None:
    """Times arch2, every checkpoint and the cell, and writes ``benchmark.json``."""
    from rich.console import Console

    from vseg_nas.assembly.benchmark import Benchmark
    from vseg_nas.files import write_json
    from vseg_nas.machine import describe
    from vseg_nas.reporting.benchmark_results import BENCHMARK_FILE, BENCHMARK_FORMAT, read_benchmark
    from vseg_nas.reporting.benchmark_table import benchmark_table
    from vseg_nas.reporting.progress import steps

    console, benchmark = Console(), Benchmark(config)
    height, width = config.size
    device = describe(benchmark.device)
    console.print(
        f"Frames of {height} x {width}, one at a time, on {device}, {benchmark.precision}, {benchmark.form};",
        soft_wrap=True,
    )
    console.print(f"median (quartiles) of {config.repeats} repeats after {config.warmup} of warm-up.", soft_wrap=True)
    rows = []
    for network in benchmark.networks:
        with steps(network.name, benchmark.ticks_per_network, console) as tick:
            rows.append(benchmark.row(network, tick))
    result = {
        "format": BENCHMARK_FORMAT,
        "device": device,
        "precision": f"{benchmark.precision}, {benchmark.form}",
        "size": [height, width],
        "classes": benchmark.classes,
        "repeats": config.repeats,
        "command": shlex.join(["python", "-m", "vseg_nas.benchmark", *sys.argv[1:]]),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "rows": rows,
    }
    write_json(run_dir / BENCHMARK_FILE, result)
    console.print(benchmark_table(read_benchmark(run_dir / BENCHMARK_FILE).rows))
    console.print(f"written: {run_dir / BENCHMARK_FILE}", soft_wrap=True, markup=False)


if __name__ == "__main__":
    main()
