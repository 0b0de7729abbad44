from pathlib import Path

import numpy as np
from PIL import Image

from vseg_nas.figures.confusion_matrix import save_confusion


def test_the_diagonal_of_a_perfect_labelling_is_dark(tmp_path: Path) -> None:
    counts = np.diag([10, 20, 30])
    path = save_confusion(counts, ("road", "sign_symbol", "sky"), tmp_path / "a.png", "$title")
    mixed = save_confusion(np.full((3, 3), 5), ("road", "sign_symbol", "sky"), tmp_path / "b.png")
    dark, pale = (np.asarray(Image.open(p).convert("RGB")) for p in (path, mixed))
    full = (dark == (8, 48, 107)).all(2).mean()  # the end of the colour map: a share of 1
    assert 0.05 < full < 0.2
    assert not (pale == (8, 48, 107)).all(2).any()


def test_a_class_without_pixels_leaves_its_row_empty(tmp_path: Path) -> None:
    counts = np.zeros((2, 2), dtype=np.int64)
    counts[0, 0] = 1
    picture = np.asarray(Image.open(save_confusion(counts, ("a", "b"), tmp_path / "a.png")).convert("RGB"))
    assert (picture == (8, 48, 107)).all(2).any()
