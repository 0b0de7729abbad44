from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from vseg_nas.evaluation.panel_row import PanelRow
from vseg_nas.figures.frame_panel import GAP, captions, save_panel

CLASSES = ("sky", "road", "sign_symbol")
PALETTE = ((10, 200, 30), (200, 10, 30), (30, 10, 200))


def ids(value: int, size: tuple[int, int] = (48, 64)) -> NDArray[np.uint8]:
    return np.full(size, value, np.uint8)


def row(**changes: Any) -> PanelRow:
    frame = np.full((48, 64, 3), (120, 130, 140), np.uint8)
    truth = ids(2)
    truth[:24] = 255
    values = {"name": "a", "frame": frame, "static": ids(0), "ours": ids(1), "truth": truth}
    return PanelRow(**values | {"static_miou": 0.5, "ours_miou": 0.625} | changes)


def pixels(path: Path) -> NDArray[np.uint8]:
    return np.asarray(Image.open(path).convert("RGB"))


def columns_of(image: NDArray[np.uint8], colour: tuple[int, int, int], column: int) -> float:
    """The share of one of the four columns that has exactly this colour."""
    width = image.shape[1] // 4
    return float((image[:, column * width : (column + 1) * width] == colour).all(axis=-1).mean())


def test_columns_are_frame_static_ours_and_truth_and_void_is_black(tmp_path: Path) -> None:
    image = pixels(save_panel([row(), row(name="b")], tmp_path / "panel.png", CLASSES, PALETTE))
    for column, colour in enumerate([(120, 130, 140), PALETTE[0], PALETTE[1], PALETTE[2]]):
        shares = [columns_of(image, colour, other) for other in range(4)]
        assert shares.index(max(shares)) == column
        assert max(shares) > 0.3
    assert columns_of(image, (0, 0, 0), 3) == pytest.approx(columns_of(image, PALETTE[2], 3), rel=0.1)
    assert columns_of(image, (0, 0, 0), 1) < 0.01


def test_small_frames_are_blown_up_without_blending_ids(tmp_path: Path) -> None:
    stripes = ids(0)
    stripes[:, ::2] = 1
    image = pixels(save_panel([row(static=stripes)], tmp_path / "panel.png", CLASSES, PALETTE))
    assert image.shape[1] == 4 * (320 + GAP)
    column = image[:, 320 + GAP : 2 * (320 + GAP)].reshape(-1, 3)
    colourful = column[np.ptp(column.astype(int), axis=1) > 60]  # no text, no paper
    assert {tuple(map(int, colour)) for colour in np.unique(colourful, axis=0)} <= set(PALETTE)
    assert len(colourful) > 320 * 200


def test_large_frames_are_shrunk(tmp_path: Path) -> None:
    size = (100, 1600)
    big = PanelRow("a", np.zeros((*size, 3), np.uint8), ids(0, size), ids(1, size), ids(2, size))
    assert pixels(save_panel([big], tmp_path / "panel.png", CLASSES, PALETTE)).shape[1] == 4 * (640 + GAP)


def test_captions_legend_and_title_are_drawn(tmp_path: Path) -> None:
    bare = pixels(save_panel([row(name="", static_miou=None, ours_miou=None)], tmp_path / "bare.png", CLASSES, PALETTE))
    full = pixels(save_panel([row(name="x" * 500)], tmp_path / "full.png", CLASSES, PALETTE))
    titled = pixels(save_panel([row()], tmp_path / "titled.png", CLASSES, PALETTE, "cell", "a title"))
    assert bare.shape == full.shape  # a long name is cut, not wrapped
    assert titled.shape[0] > full.shape[0]
    assert (bare != full).any(axis=(1, 2)).any()
    legend = bare[-40:]
    assert all((legend == colour).all(axis=-1).sum() > 50 for colour in (*PALETTE, (0, 0, 0)))


@pytest.mark.parametrize(
    ("static", "ours", "expected"),
    [
        (0.5, 0.625, ["a", "mIoU 50.0 %", "mIoU 62.5 % (+12.5)"]),
        (0.5, 0.4, ["a", "mIoU 50.0 %", "mIoU 40.0 % (-10.0)"]),
        (None, 0.4, ["a", None, "mIoU 40.0 %"]),
    ],
)
def test_captions_by_hand(static: float | None, ours: float, expected: list[str | None]) -> None:
    assert captions(row(static_miou=static, ours_miou=ours)) == expected


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"static": ids(0, (48, 63))}, "static: found uint8"),
        ({"truth": ids(0).astype(np.int64)}, "truth: found int64"),
        ({"frame": ids(0)}, "frame: found uint8"),
    ],
)
def test_arrays_of_another_shape_or_type_are_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        row(**changes)


def test_an_id_without_a_colour_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"found \[7\], expected ids with a colour"):
        save_panel([row(ours=ids(7))], tmp_path / "panel.png", CLASSES, PALETTE)
    assert not list(tmp_path.iterdir())


def test_frames_of_two_sizes_are_refused(tmp_path: Path) -> None:
    size = (24, 32)
    other = PanelRow("b", np.zeros((*size, 3), np.uint8), ids(0, size), ids(0, size), ids(0, size))
    with pytest.raises(ValueError, match="different sizes"):
        save_panel([row(), other], tmp_path / "panel.png", CLASSES, PALETTE)
