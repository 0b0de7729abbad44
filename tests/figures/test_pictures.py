import random
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest
from PIL import Image

from tests.builders import ALL_STREAMING, scored
from tests.fixtures import MakeTrials
from vseg_nas.errors import RunError
from vseg_nas.figures.cell_drawing import FILLS, draw_cell, save_cell_drawing
from vseg_nas.figures.cell_layout import cell_layout
from vseg_nas.figures.search_curves import draw_reward_curve, draw_token_shares
from vseg_nas.figures.search_pictures import write_pictures
from vseg_nas.figures.style import PALE, PURPLE, SERIES, VERMILLION, save_figure
from vseg_nas.results.names import label
from vseg_nas.runs.files import replacing
from vseg_nas.space import Genotype, Layer, SearchSpace
from vseg_nas.space.vocabulary import STREAMING

CELL = Genotype((Layer(1, 2, 0, 5, 1), Layer(5, 1, 2, 2, 5)))


def share_of(path: Path, colour: str) -> float:
    """The share of a picture's pixels that have exactly this colour."""
    pixels = np.asarray(Image.open(path).convert("RGB"))
    wanted = [int(colour[i : i + 2], 16) for i in (1, 3, 5)]
    return float((pixels == wanted).all(axis=-1).mean())


def test_cell_drawing_shows_operations_aggregations_and_background(tmp_path: Path) -> None:
    path = save_cell_drawing(CELL, tmp_path / "cell.png", "a title")
    assert share_of(path, FILLS["operation"]) > 0.03
    assert share_of(path, FILLS["aggregation"]) > 0.02
    assert 0.3 < share_of(path, "#FFFFFF") < 0.95


def test_cell_drawing_as_vectors(tmp_path: Path) -> None:
    svg = save_cell_drawing(CELL, tmp_path / "cell.svg")
    paths = ElementTree.parse(svg).iter("{http://www.w3.org/2000/svg}path")
    assert sum(FILLS["operation"].lower() in (path.get("style") or "") for path in paths) == 4 + 1  # and the legend


def test_only_unread_inputs_are_grey() -> None:
    from matplotlib.colors import to_hex

    (axes,) = draw_cell(cell_layout(CELL), CELL.reads).axes
    grey = [patch for patch in axes.patches if to_hex(patch.get_edgecolor()) == PALE.lower()]
    assert len(grey) == 5 - len(CELL.reads) == 3


def test_the_past_of_streaming_cells_is_purple(tmp_path: Path) -> None:
    from matplotlib.colors import to_hex

    (axes,) = draw_cell(cell_layout(ALL_STREAMING), ALL_STREAMING.reads).axes
    purple = [patch for patch in axes.patches if to_hex(patch.get_edgecolor()) == PURPLE.lower()]
    assert len([patch for patch in purple if patch.get_facecolor()[:3] == (1, 1, 1) and patch.get_facecolor()[3]]) == 3
    labels = {text.get_text() for text in axes.texts}
    assert {"previous\nlayer 2", "distance", "align", "gated\nresidual"} <= labels


def test_token_shares_of_streaming_cells(tmp_path: Path) -> None:
    space, rng = SearchSpace(3, 64, STREAMING), random.Random(0)
    trials = [scored(space.sample(rng), 0.5, id_) for id_ in range(40)]
    path = save_figure(draw_token_shares(trials), tmp_path / "shares.png")
    assert all(share_of(path, colour) > 0.0005 for colour in SERIES)


def test_reward_curve_shows_failures_only_if_there_are_any(make_trials: MakeTrials, tmp_path: Path) -> None:
    trials = make_trials(40)
    with_failures = save_figure(draw_reward_curve(trials, "a title"), tmp_path / "all.png")
    without = save_figure(draw_reward_curve([t for t in trials if t.evaluation]), tmp_path / "scored.png")
    assert share_of(with_failures, VERMILLION) > 0 == share_of(without, VERMILLION)
    assert share_of(with_failures, "#000000") > 0.002  # the running mean
    assert Image.open(with_failures).size == Image.open(without).size == (1350, 750)


def test_reward_curve_of_failures_alone(make_trials: MakeTrials, tmp_path: Path) -> None:
    failures = [trial for trial in make_trials(20) if trial.evaluation is None]
    assert share_of(save_figure(draw_reward_curve(failures), tmp_path / "failures.png"), VERMILLION) > 0


def test_token_shares_draws_every_line(make_trials: MakeTrials, tmp_path: Path) -> None:
    path = save_figure(draw_token_shares(make_trials(40)), tmp_path / "shares.png")
    assert all(share_of(path, colour) > 0.0005 for colour in SERIES[:6])  # of six words at most


def test_without_an_ended_trial_there_is_nothing_to_draw(tmp_path: Path) -> None:
    assert write_pictures([], tmp_path) == []


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "report.md"
    path.write_text("old")

    def write_half() -> None:
        with replacing(path) as partial:
            partial.write_text("ne")
            raise OSError("disk full")

    with pytest.raises(RunError, match="disk full"):
        write_half()
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("prev_layer4", "previous layer 4"),
        ("sep_conv_5x5_rate_6", "sep conv 5\N{MULTIPLICATION SIGN}5 rate 6"),
        ("conv_3d", "conv 3d"),
    ],
)
def test_labels(name: str, text: str) -> None:
    assert label(name) == text
