"""Times networks (Table 5): ``python -m vseg_nas.benchmark checkpoint=FILE`` or ``cell=...``, ``size=[1024,2048]``."""

from __future__ import annotations

from pathlib import Path

from vseg_nas.assembly.cells import resolve_cell
from vseg_nas.assembly.required_files import require_checkpoint
from vseg_nas.cli.command import command
from vseg_nas.cli.values import list_hint
from vseg_nas.console.lines import print_line
from vseg_nas.errors import ConfigError
from vseg_nas.schema import BenchmarkConfig


def _preflight(config: BenchmarkConfig) -> None:
    for path in config.checkpoint or ():
        require_checkpoint(path, list_hint("checkpoint", path))
    if config.cell is not None:
        resolve_cell(config.cell, config.flow)
    elif config.flow:
        raise ConfigError("flow: found true without cell=, expected a cell to warp for; a checkpoint has its own")


@command("benchmark", BenchmarkConfig, _preflight)
def main(config: BenchmarkConfig, run_dir: Path) -> None:
    """Times arch2, every checkpoint and the cell, and writes ``benchmark.json``."""
    from rich.console import Console

    from vseg_nas.assembly.latency_rows import Benchmark
    from vseg_nas.console.progress import steps
    from vseg_nas.console.tables import benchmark_table
    from vseg_nas.machine import describe
    from vseg_nas.results.result import command_line, today, write_result
    from vseg_nas.results.runtime import BenchmarkResult

    console, benchmark = Console(), Benchmark(config)
    height, width = config.size
    device = describe(benchmark.device)
    print_line(
        console,
        f"Frames of {height} x {width}, one at a time, on {device}, {benchmark.precision}, {benchmark.form};",
    )
    print_line(console, f"median (quartiles) of {config.repeats} repeats after {config.warmup} of warm-up.")
    rows = []
    for network in benchmark.networks:
        with steps(network.name, benchmark.ticks_per_network, console) as tick:
            rows.append(benchmark.row(network, tick))
    result = BenchmarkResult(
        device=device,
        precision=f"{benchmark.precision}, {benchmark.form}",
        size=config.size,
        classes=benchmark.classes,
        repeats=config.repeats,
        command=command_line("benchmark"),
        date=today(),
        rows=tuple(rows),
    )
    path = write_result(run_dir, result)
    console.print(benchmark_table(result.rows))
    print_line(console, f"written: {path}")


if __name__ == "__main__":
    main()
