"""What a search prints at its end: the best cells, where everything lies, and which command comes next."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from vseg_nas.console.lines import print_line
from vseg_nas.console.tables import best_cells_table
from vseg_nas.nas.history import best_cells, outcome_counts
from vseg_nas.nas.trial import Trial

SHOWN_CELLS = 5


def final_summary(console: Console, trials: Sequence[Trial], run_dir: Path, next_commands: Sequence[str]) -> None:
    """Prints the best cells, how the trials ended, where everything lies and what to type next."""
    counts = outcome_counts(trials)
    if best_cells(trials, 1):
        console.print(best_cells_table(trials, SHOWN_CELLS))
    else:
        print_line(console, "No candidate has a score.")
    parts = (f"{count} {kind}" for kind, count in counts.items() if count)
    lines = [
        f"{sum(counts.values())} candidates tried: {', '.join(parts) or 'none'}",
        f"run directory: {run_dir}",
    ]
    lines += [f"  {path.relative_to(run_dir)}" for path in _files(run_dir)]
    lines += ["next:", *(f"  {command}" for command in next_commands)] if next_commands else []
    for line in lines:
        print_line(console, line)


def _files(run_dir: Path) -> list[Path]:
    """Returns the visible files of a run directory and of its report."""
    found = [*run_dir.glob("*"), *run_dir.glob("report/*")]
    return sorted(path for path in found if path.is_file() and not path.name.startswith("."))
