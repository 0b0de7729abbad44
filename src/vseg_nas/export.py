"""A network for other runtimes: ``python -m vseg_nas.export checkpoint=FILE format=onnx``."""

from __future__ import annotations

from pathlib import Path

from vseg_nas.assembly.required_files import require_checkpoint
from vseg_nas.cli.command import command
from vseg_nas.console.lines import print_line
from vseg_nas.schema import ExportConfig


def _preflight(config: ExportConfig) -> None:
    if config.checkpoint is not None:
        require_checkpoint(config.checkpoint)


@command("export", ExportConfig, _preflight)
def main(config: ExportConfig, run_dir: Path) -> None:
    """Writes ``key_frame`` and ``next_frame`` into the run directory."""
    from rich.console import Console

    from vseg_nas.assembly.graph_export import export

    console = Console()
    exported = export(config, run_dir)
    for size, largest in exported.checked:
        print_line(
            console,
            f"{exported.name}: as torch up to {largest:.1e} on frames of {size[0]} x {size[1]}",
        )
    for path in exported.files:
        mebibytes = path.stat().st_size / 2**20
        print_line(console, f"written: {path} ({mebibytes:.1f} MiB)")


if __name__ == "__main__":
    main()
