"""What is left of a search for a person: pictures, tables, and which command comes next."""

from collections.abc import Sequence
from pathlib import Path

from rich.console import Console
from rich.text import Text

from vseg_nas.files import write_text
from vseg_nas.nas.trial import Trial
from vseg_nas.reporting.history import best_cells, ended, outcome_counts
from vseg_nas.reporting.tables import best_cells_markdown, best_cells_table, write_trials_csv

REPORTED_CELLS = 10
SHOWN_CELLS = 5


def write_pictures(trials: Sequence[Trial], folder: Path) -> list[Path]:
    """Writes reward.png and shares.png, and best_cell.png and .svg if any trial has a score.

    Args:
        trials: In any order; those that have not ended are left out, and without any nothing is written.
        folder: Made if need be; each file is replaced whole.

    Returns:
        The files written.
    """
    from vseg_nas.reporting.curves import save_reward_curve, save_token_shares  # they load matplotlib
    from vseg_nas.reporting.drawing import save_cell_drawing

    if not ended(trials):
        return []
    paths = [
        save_reward_curve(trials, folder / "reward.png"),
        save_token_shares(trials, folder / "shares.png"),
    ]
    for cell in best_cells(trials, 1):
        scores = cell.evaluation
        title = f"trial {cell.trial.id}: score {scores.score:.4f}, mIoU {scores.miou:.4f}"
        for name in ("best_cell.png", "best_cell.svg"):
            paths.append(save_cell_drawing(cell.trial.genotype, folder / name, title))
    return paths


def write_report(run_dir: Path, trials: Sequence[Trial]) -> list[Path]:
    """Writes the pictures, trials.csv and best_cells.md into `run_dir`/report; each file is replaced whole.

    Returns:
        The files written.
    """
    folder = run_dir / "report"
    paths = [*write_pictures(trials, folder), write_trials_csv(trials, folder / "trials.csv")]
    table = folder / "best_cells.md"
    return [*paths, write_text(table, best_cells_markdown(trials, REPORTED_CELLS))]


def final_summary(console: Console, trials: Sequence[Trial], run_dir: Path, next_commands: Sequence[str]) -> None:
    """Prints the best cells, how the trials ended, where everything lies and what to type next."""
    counts = outcome_counts(trials)
    if best_cells(trials, 1):
        console.print(best_cells_table(trials, SHOWN_CELLS))
    else:
        console.print("No candidate has a score.")
    parts = (f"{count} {kind}" for kind, count in counts.items() if count)
    lines = [
        f"{sum(counts.values())} candidates tried: {', '.join(parts) or 'none'}",
        f"run directory: {run_dir}",
    ]
    lines += [f"  {path.relative_to(run_dir)}" for path in _files(run_dir)]
    lines += ["next:", *(f"  {command}" for command in next_commands)] if next_commands else []
    for line in lines:  # as they are: a wrapped path or command cannot be copied
        console.print(Text(line), soft_wrap=True)


def _files(run_dir: Path) -> list[Path]:
    """What lies in a run directory, and in its report, for a person to open."""
    found = [*run_dir.glob("*"), *run_dir.glob("report/*")]
    return sorted(path for path in found if path.is_file() and not path.name.startswith("."))
