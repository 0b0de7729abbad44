"""Writes the pictures of one search as files."""

from collections.abc import Sequence
from pathlib import Path

from vseg_nas.nas.history import best_cells, ended
from vseg_nas.nas.trial import Trial


def write_pictures(trials: Sequence[Trial], folder: Path) -> list[Path]:
    """Writes reward.png and shares.png, and best_cell.png and .svg if any trial has a score.

    Args:
        trials: The trials in any order; those that have not ended are left out. Nothing is written if none has ended.
        folder: The folder; it is made if it does not exist, and each file is replaced whole.

    Returns:
        The files written.
    """
    from vseg_nas.figures.cell_drawing import save_cell_drawing
    from vseg_nas.figures.search_curves import draw_reward_curve, draw_token_shares
    from vseg_nas.figures.style import save_figure

    if not ended(trials):
        return []
    paths = [
        save_figure(draw_reward_curve(trials), folder / "reward.png"),
        save_figure(draw_token_shares(trials), folder / "shares.png"),
    ]
    for cell in best_cells(trials, 1):
        scores = cell.evaluation
        title = f"trial {cell.trial.id}: score {scores.score:.4f}, mIoU {scores.miou:.4f}"
        for name in ("best_cell.png", "best_cell.svg"):
            paths.append(save_cell_drawing(cell.trial.genotype, folder / name, title))
    return paths
