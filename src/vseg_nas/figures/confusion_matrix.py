"""Draws a confusion matrix."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray

from vseg_nas.figures.style import plain, save_figure
from vseg_nas.results.names import label

DARK = 0.55  # from this share on, the number is written in white


def save_confusion(counts: NDArray[np.int64], classes: Sequence[str], path: Path, title: str | None = None) -> Path:
    """Draws the share of each true class's pixels that was given to each predicted class, in percent.

    Args:
        counts: (K, K) pixels; rows are the ground truth, columns the predictions. A class without pixels has an empty
            row.
        classes: The names of the K classes.
        path: The file to write; it is replaced whole.
        title: The title of the picture.

    Returns:
        `path`.
    """
    truth = counts.sum(1, keepdims=True)
    shares = np.divide(counts, truth, out=np.zeros(counts.shape), where=truth > 0)
    side = 2.2 + 0.45 * len(classes)
    figure = Figure(figsize=(side, side), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    names = [label(name) for name in classes]
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right", rotation_mode="anchor")
    axes.set_yticks(range(len(names)), names)
    axes.set_xlabel("predicted")
    axes.set_ylabel("truth")
    for row, column in zip(*np.nonzero(shares >= 0.005), strict=True):
        share = shares[row, column]
        colour = "white" if share > DARK else "black"
        axes.text(column, row, f"{100 * share:.0f}", ha="center", va="center", fontsize=8, color=colour)
    if title:
        axes.set_title(plain(title), loc="left", fontsize=10)
    return save_figure(figure, path)
