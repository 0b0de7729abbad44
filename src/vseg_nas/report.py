"""Pictures, tables and a page from runs: ``python -m vseg_nas.report run=DIR`` or ``run=[DIR,DIR]``."""

from pathlib import Path

from vseg_nas.cli.command import command
from vseg_nas.cli.values import list_hint
from vseg_nas.console.lines import print_line
from vseg_nas.errors import RunError
from vseg_nas.runs.resume import folder_hint
from vseg_nas.schema import ReportConfig


def _preflight(config: ReportConfig) -> None:
    for run in config.run:
        if not Path(run).is_dir():
            meant = folder_hint(Path(run)) or list_hint("run", run)
            raise RunError(f"run: found no directory {run}, expected one of a command that leaves results{meant}")


@command("report", ReportConfig, _preflight)
def main(config: ReportConfig, run_dir: Path) -> None:
    """Writes ``report.html`` and the single files beside it."""
    from rich.console import Console

    from vseg_nas.console.progress import tracked
    from vseg_nas.reporting.build_report import build_report

    console = Console()
    for path in build_report([Path(run) for run in config.run], run_dir, tracked(console)):
        print_line(console, str(path))


if __name__ == "__main__":
    main()
