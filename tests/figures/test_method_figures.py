from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.figure import Figure
from numpy.typing import NDArray
from PIL import Image

from tests.fixtures import Json, MakeTrials, WriteRun
from vseg_nas.figures.pareto import (
    ParetoPoint,
    draw_method_trade_off,
    draw_search_trade_off,
    latency_points,
    parameter_points,
)
from vseg_nas.figures.rolling_curves import (
    baseline_of,
    curve_difference,
    distance_labels,
    draw_rolling_curves,
    rolling_curve,
)
from vseg_nas.figures.search_curves import draw_reward_bands
from vseg_nas.figures.style import BLUE, LONGEST_NAME, ORANGE, PURPLE, method_styles, plain, save_png_and_svg
from vseg_nas.reporting.opened_runs import open_runs
from vseg_nas.results.methods import Method, methods
from vseg_nas.results.result import read_result
from vseg_nas.results.runtime import BenchmarkResult
from vseg_nas.space import Genotype, Layer


def drawn(figure: Figure, folder: Path) -> NDArray[np.uint8]:
    """The pixels of the PNG; the SVG has to be there too."""
    png, svg = save_png_and_svg(figure, folder / "figure.1")
    assert (png.name, svg.name) == ("figure.1.png", "figure.1.svg")
    assert svg.read_text().count("<path") > 10
    return np.asarray(Image.open(png).convert("RGB"))


def rgb(colour: str) -> NDArray[np.float64]:
    return np.array([int(colour[i : i + 2], 16) for i in (1, 3, 5)], float)


def share(image: NDArray[np.uint8], colour: str) -> float:
    return float((image == rgb(colour)).all(axis=-1).mean())


def band_share(image: NDArray[np.uint8], colour: str) -> float:
    """The share of pixels of this colour at 18 % over white, give or take rounding."""
    return float((abs(image - (255 - 0.18 * (255 - rgb(colour)))) < 2).all(axis=-1).mean())


def heights(line: Any) -> list[float]:
    return [float(y) for y in np.asarray(line.get_ydata())]


def found(data: Json, write_run: WriteRun) -> list[Method]:
    ((_, found),) = methods(open_runs([write_run("first", "evaluate.json", data)]).evaluations).items()
    return found


def test_reward_bands_have_a_band_only_over_several_seeds(make_trials: MakeTrials, tmp_path: Path) -> None:
    first, second = make_trials(40), make_trials(60)[20:]
    image = drawn(draw_reward_bands({"ppo": [first, second], "random": [first]}), tmp_path)
    assert share(image, BLUE) > 0.001
    assert share(image, ORANGE) > 0.0005
    assert band_share(image, BLUE) > 0.005
    assert band_share(image, ORANGE) < 0.0005


def test_the_reward_axis_ends_where_the_curves_end(make_trials: MakeTrials) -> None:
    (axes,) = draw_reward_bands({"ppo": [make_trials(60), make_trials(30)]}).axes
    assert axes.get_xlim() == (-0.5, 29.5)


def test_a_name_is_never_mathematics_nor_hidden_nor_long(make_trials: MakeTrials, tmp_path: Path) -> None:
    trials = make_trials(12)
    names = ["$\\frac{$", "_hidden", "x" * 500, "a\nb", "$x$"]
    figure = draw_reward_bands({name: [trials] for name in names})
    drawn(figure, tmp_path)
    (legend,) = figure.legends
    texts = [text.get_text() for text in legend.get_texts()]
    assert len(texts) == len(names)
    assert max(map(len, texts)) < LONGEST_NAME + 12
    assert plain("a\nb $x$") == r"a b \$x\$"


def test_the_same_figure_is_the_same_file(make_trials: MakeTrials, tmp_path: Path) -> None:
    trials = make_trials(12)
    paths = [save_png_and_svg(draw_reward_bands({"ppo": [trials]}), tmp_path / name) for name in ("a", "b")]
    for one, other in zip(*paths, strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_a_rolling_curve_by_hand(evaluation_data: Json, write_run: WriteRun) -> None:
    static, _, cell = found(evaluation_data, write_run)
    curve = rolling_curve(cell, "5")
    assert [point.distance for point in curve] == [0, 1, 2, 3, 4]
    assert curve[3] == pytest.approx((3, 49.5, 48.0, 51.0))
    assert rolling_curve(static, "5") == [pytest.approx((0, 50.0, 50.0, 50.0))]
    assert curve_difference(curve, rolling_curve(static, "5")) == [pytest.approx((0, 2.5, 1.0, 4.0))]


def test_a_distance_that_one_training_lacks_is_left_out(evaluation_data: Json, write_run: WriteRun) -> None:
    evaluation_data["rows"][3]["rolling"]["5"]["by_distance"][2]["miou"] = None
    *_, cell = found(evaluation_data, write_run)
    assert [point.distance for point in rolling_curve(cell, "5")] == [0, 1, 3, 4]
    assert rolling_curve(cell, "3") == []


def test_distances_that_stand_for_several_say_so() -> None:
    assert distance_labels([0, 1, 2]) == ["0", "1", "2"]
    assert distance_labels([7, 8, 9, 17]) == ["7", "8", "9\N{EN DASH}16", "17+"]
    assert distance_labels([]) == []


def test_rolling_curves_draw_every_method(evaluation_data: Json, write_run: WriteRun, tmp_path: Path) -> None:
    shown = found(evaluation_data, write_run)
    figure = draw_rolling_curves(shown)
    assert len(figure.axes) == 4
    image = drawn(figure, tmp_path)
    assert all(share(image, style.colour) > 0.0005 for style in method_styles(shown).values())
    assert band_share(image, BLUE) > 0.005


def test_without_the_static_network_there_are_no_differences(evaluation_data: Json, write_run: WriteRun) -> None:
    del evaluation_data["rows"][0]
    assert len(draw_rolling_curves(found(evaluation_data, write_run)).axes) == 2


def test_a_static_network_scored_by_distance_adds_differences(evaluation_data: Json, write_run: WriteRun) -> None:
    evaluation_data["rows"][0]["rolling"] = evaluation_data["rows"][1]["rolling"]
    shown = found(evaluation_data, write_run)
    figure = draw_rolling_curves(shown)
    assert len(figure.axes) == 4
    (line,) = (line for line in figure.axes[2].lines if line.get_label() == "best cell")
    assert heights(line) == pytest.approx([12.5] * 5)


def test_a_cell_is_compared_with_the_static_network_trained_with_it(tuned_data: Json, write_run: WriteRun) -> None:
    for row in tuned_data["rows"][4:6]:
        row["rolling"] = tuned_data["rows"][3]["rolling"]  # 54 % less the distance
    figure = draw_rolling_curves(found(tuned_data, write_run))
    (line,) = (line for line in figure.axes[2].lines if line.get_label() == "best cell")
    assert heights(line) == pytest.approx([-1.5] * 5)
    assert figure.axes[2].get_ylabel() == "cell less fine-tuned static\nnetwork, points"
    for row in tuned_data["rows"][4:]:
        row["recipe"] = "r2"
    shown = found(tuned_data, write_run)
    baseline = baseline_of(shown[2], shown)
    assert baseline is not None
    assert baseline.label == "static per frame"
    assert draw_rolling_curves(shown).axes[2].get_ylabel() == "cell less static\nnetwork, points"


def test_methods_are_told_apart(tuned_data: Json, write_run: WriteRun) -> None:
    shown = found(tuned_data, write_run)
    styles = method_styles(shown)
    assert len(set(styles.values())) == len(shown)
    assert [style.colour for style in styles.values()].count("#000000") == 2


def spots_of(data: Json, timed: Json, write_run: WriteRun) -> dict[str, ParetoPoint]:
    benchmark = read_result(write_run("cpu", "benchmark.json", timed) / "benchmark.json", BenchmarkResult)
    return {spot.name: spot for spot in latency_points(found(data, write_run), benchmark)}


def test_spots_are_matched_by_the_cell(evaluation_data: Json, benchmark_data: Json, write_run: WriteRun) -> None:
    spots = spots_of(evaluation_data, benchmark_data, write_run)
    assert list(spots) == ["static per frame", "best cell"]
    static, cell = spots.values()
    assert (static.cost, static.score.rounded) == (92.0, "50.0")
    assert (cell.cost, cell.cost_range) == (42.4, (41.4, 44.4))  # the average of 5
    shown = parameter_points(found(evaluation_data, write_run))
    assert [spot.cost for spot in shown] == [2_847_371, 3_147_371]


MIRRORED = Genotype((Layer(2, 1, 5, 0, 1), Layer(5, 1, 2, 2, 5)))
"""The cell of `evaluation_data` with the sides of its first layer exchanged, which are concatenated."""


def test_the_spelling_of_a_timed_cell_does_not_matter(
    evaluation_data: Json, benchmark_data: Json, write_run: WriteRun
) -> None:
    benchmark_data["rows"][1] |= {"genotype": MIRRORED.to_dict(), "expression": MIRRORED.expression()}
    assert spots_of(evaluation_data, benchmark_data, write_run)["best cell"].cost == 42.4


@pytest.mark.parametrize("change", [{"flow": True}, {"past": "zero"}])
def test_a_cell_given_something_else_is_not_the_one_that_was_timed(
    change: Json, evaluation_data: Json, benchmark_data: Json, write_run: WriteRun
) -> None:
    other = benchmark_data["rows"][1] | change | {"name": "best cell", "average_ms": {"5": dict.fromkeys(TIMES, 7.0)}}
    benchmark_data["rows"].insert(1, other)
    assert spots_of(evaluation_data, benchmark_data, write_run)["best cell"].cost == 42.4
    benchmark_data["rows"] = [other]
    assert spots_of(evaluation_data, benchmark_data, write_run) == {}


def test_the_fine_tuned_static_network_takes_the_time_of_arch2(
    tuned_data: Json, benchmark_data: Json, write_run: WriteRun
) -> None:
    spots = spots_of(tuned_data, benchmark_data, write_run)
    assert list(spots) == ["static per frame", "best cell", "static per frame, fine-tuned"]
    tuned = spots["static per frame, fine-tuned"]
    assert (tuned.cost, str(tuned.score)) == (92.0, "61.0 ± 1.4")


TIMES = ("median", "low", "high")


def test_without_rolling_pairs_are_compared(evaluation_data: Json, benchmark_data: Json, write_run: WriteRun) -> None:
    for row in evaluation_data["rows"]:
        row |= {"rolling": {}, "consistency": {}}
    cell = spots_of(evaluation_data, benchmark_data, write_run)["best cell"]
    assert (cell.cost, cell.score.rounded) == (30.0, "52.5")  # the time of the second frame


def test_method_trade_off_has_a_panel_a_device(
    evaluation_data: Json, benchmark_data: Json, write_run: WriteRun, tmp_path: Path
) -> None:
    shown = found(evaluation_data, write_run)
    known = read_result(write_run("cpu", "benchmark.json", benchmark_data) / "benchmark.json", BenchmarkResult)
    benchmark_data["rows"] = []
    other = read_result(write_run("other", "benchmark.json", benchmark_data) / "benchmark.json", BenchmarkResult)
    figure = draw_method_trade_off(shown, [known, other, known])
    assert len(figure.axes) == 3
    image = drawn(figure, tmp_path)
    assert share(image, BLUE) > 0.0005
    assert share(image, "#000000") > 0.001


def test_search_trade_off_joins_the_front_and_rings_what_was_evaluated(make_trials: MakeTrials, tmp_path: Path) -> None:
    trials = make_trials(40)
    figure = draw_search_trade_off(trials, {trials[0].genotype.key})
    (front,) = (line for line in figure.axes[0].lines if line.get_label() == "Pareto front")
    scores = heights(front)
    complete = [t.evaluation for t in trials if t.evaluation and not t.evaluation.stopped and t.reused_from is None]
    assert scores == sorted(scores)
    assert scores[-1] == max(e.score for e in complete)
    assert np.asarray(front.get_xdata())[0] == min(e.parameters for e in complete)
    assert share(drawn(figure, tmp_path), PURPLE) > 0.0002
    assert share(drawn(draw_search_trade_off(trials), tmp_path), PURPLE) == 0
