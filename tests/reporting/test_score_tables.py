from pathlib import Path

import pytest

from tests.builders import shown
from tests.fixtures import Json, WriteRun
from vseg_nas.reporting.opened_runs import open_runs
from vseg_nas.reporting.paper import RUNTIMES, SCORES
from vseg_nas.reporting.runtime_table import runtime_table
from vseg_nas.reporting.score_tables import (
    TRAINED_STATIC_NOTE,
    class_table,
    detailed_table,
    score_table,
    share_of_the_way,
    share_table,
)
from vseg_nas.results.methods import Method, Setting, methods
from vseg_nas.results.numbers import Number


def found_in(*folders: Path) -> dict[Setting, list[Method]]:
    return methods(open_runs(folders).evaluations)


def test_table_3_has_the_paper_and_the_mean_over_seeds(evaluation_data: Json, write_run: WriteRun) -> None:
    table = score_table("camvid", found_in(write_run("first", "evaluate.json", evaluation_data)))
    assert table.title == "Table 3. Segmentation scores on CamVid"
    paper, ours = table.bodies
    assert shown(table)[1] == ["cell0", "paper", "CamVid test, 480\N{MULTIPLICATION SIGN}360", "-", "66.6"]
    where = "CamVid val, 480\N{MULTIPLICATION SIGN}360"
    assert shown(table)[len(paper) :] == [
        ["static per frame", "ours", where, "-", "50.0"],
        ["previous labels copied", "ours", where, "-", "40.0"],
        ["best cell", "ours", where, "2", "52.5 ± 2.1"],  # 51 and 54: deviations of 1.5, / sqrt(2 - 1)
    ]
    number = ours[-1][-1]
    assert isinstance(number, Number)
    assert number.value == pytest.approx(52.5)
    assert number.std == pytest.approx(4.5**0.5)


def test_a_data_set_that_the_paper_does_not_have(evaluation_data: Json, write_run: WriteRun) -> None:
    evaluation_data["dataset"] = "synthetic"
    table = score_table("synthetic", found_in(write_run("first", "evaluate.json", evaluation_data)))
    assert table.title == "Segmentation scores on synthetic"
    assert {row[1] for row in table.rows} == {"ours"}


def test_another_split_is_another_setting(evaluation_data: Json, write_run: WriteRun) -> None:
    first = write_run("first", "evaluate.json", evaluation_data)
    second = write_run("second", "evaluate.json", evaluation_data | {"split": "test"})
    settings = found_in(first, second)
    assert [setting.split for setting in settings] == ["val", "test"]
    assert len(score_table("camvid", settings).bodies) == 3  # the paper and each of them


def test_detailed_table_by_hand(evaluation_data: Json, write_run: WriteRun) -> None:
    for name, less in (("miou", 0.0), ("score", 0.1), ("fwiou", 0.2), ("macc", 0.3)):
        evaluation_data["rows"][3]["pair"][name] -= less
    ((setting, found),) = found_in(write_run("first", "evaluate.json", evaluation_data)).items()
    static, _, cell = shown(detailed_table(setting, found))
    assert static == ["static per frame", "-", "2.85", "26.90", "50.0", "50.0", "50.0", "50.0"]
    # of 51 and 54, 44, 34 and 24
    assert cell == ["best cell", "2", "3.15", "9.12", "52.5 ± 2.1", "47.5 ± 4.9", "42.5 ± 12.0", "37.5 ± 19.1"]


def test_why_there_are_no_full_sequences_is_named(evaluation_data: Json, write_run: WriteRun) -> None:
    ((setting, found),) = found_in(write_run("first", "evaluate.json", evaluation_data)).items()
    assert detailed_table(setting, found, ["no frames"]).notes[-1] == "Full sequences are not scored: no frames."


def test_how_the_static_network_was_trained_is_said_where_it_stands(tuned_data: Json, write_run: WriteRun) -> None:
    settings = found_in(write_run("first", "evaluate.json", tuned_data))
    ((setting, found),) = settings.items()
    note = TRAINED_STATIC_NOTE
    assert note in score_table("camvid", settings).notes
    assert note in detailed_table(setting, found).notes
    assert note not in detailed_table(setting, found[:3]).notes
    assert shown(score_table("camvid", settings))[-2][:1] == ["static per frame, fine-tuned"]
    assert shown(score_table("camvid", settings))[-2][-2:] == ["2", "61.0 ± 1.4"]


def test_time_stands_where_it_was_measured(tuned_data: Json, benchmark_data: Json, write_run: WriteRun) -> None:
    runs = open_runs([write_run("e", "evaluate.json", tuned_data), write_run("b", "benchmark.json", benchmark_data)])
    ((setting, found),) = methods(runs.evaluations).items()
    timed = [run.results for run in runs.benchmarks]
    table = detailed_table(setting, found, (), timed)
    assert table.columns[4].title == "ms, cpu: a processor, 2048\N{MULTIPLICATION SIGN}1024"
    static, dynamic = "92.0 (91.0\N{EN DASH}94.0)", "30.0 (29.0\N{EN DASH}32.0)"
    assert [(row[0], row[4]) for row in shown(table)] == [
        ("static per frame", static),
        ("previous labels copied", "-"),
        ("best cell", dynamic),
        ("static per frame, fine-tuned", static),
        ("previous labels copied, fine-tuned", "-"),
    ]
    other = [timed[0].model_copy(update={"rows": ()})]
    assert len(detailed_table(setting, found, (), other).columns) == len(table.columns) - 1


def with_pasts(data: Json, scores: dict[tuple[str, str], list[float]]) -> Json:
    """Trainings of the cell of the first one, by past and recipe, one a seed."""
    one = data["rows"].pop(2)
    del data["rows"][2:]
    for (past, recipe), mious in scores.items():
        for seed, miou in enumerate(mious):
            trained = f"{past} {recipe}"
            row = {"group": trained, "past": past, "recipe": recipe, "trained_with": trained, "seed": seed}
            path = {"checkpoint": f"runs/{trained}/{seed}.safetensors"}
            data["rows"].append(one | row | path | {"pair": one["pair"] | {"miou": miou}})
    return data


def test_share_of_the_way_by_hand(evaluation_data: Json, write_run: WriteRun) -> None:
    scores = {
        ("zero", "r1"): [0.45, 0.44, 0.46],
        ("previous", "r1"): [0.57, 0.58, 0.59],
        ("current", "r1"): [0.59, 0.60, 0.58, 0.9],  # the last seed has no floor
        ("previous", "r2"): [0.5],  # of another recipe: no share
        ("current", "r2"): [0.6],
    }
    ((setting, found),) = found_in(write_run("first", "evaluate.json", with_pasts(evaluation_data, scores))).items()
    table = share_table(setting, found)
    assert table is not None
    # gains of 12, 14 and 13 points on a way of 14, 16 and 12: 13 of 14, and 1 of 14
    assert shown(table) == [["previous r1", "3", "45.0 ± 1.0", "58.0 ± 1.0", "66.8 ± 15.5", "93 ± 7"]]


def test_without_all_three_there_is_no_share(evaluation_data: Json, write_run: WriteRun) -> None:
    scores = {("zero", "r1"): [0.4], ("previous", "r1"): [0.5], ("current", "r2"): [0.6]}
    ((setting, found),) = found_in(write_run("first", "evaluate.json", with_pasts(evaluation_data, scores))).items()
    assert share_table(setting, found) is None


@pytest.mark.parametrize(
    ("zero", "previous", "current", "share"),
    [
        ([0.4], [0.5], [0.6], "50"),
        ([0.4], [0.65], [0.6], "125"),  # above the ceiling
        ([0.4], [0.35], [0.6], "-25"),  # the past is harmful
        ([0.5], [0.55], [0.5], None),  # no way to go
        ([0.6], [0.65], [0.5], None),  # a ceiling below the floor
        ([0.5, 0.5], [0.51, 0.51], [0.54, 0.50], None),  # 2 points on average, ± 2.8
        ([0.5, 0.5], [0.51, 0.51], [0.52, 0.53], "40 ± 0"),
        ([], [], [], None),
    ],
)
def test_share_of_the_way(zero: list[float], previous: list[float], current: list[float], share: str | None) -> None:
    found = share_of_the_way(zero, previous, current)
    assert (None if found is None else str(found)) == share


def test_class_table_by_hand(evaluation_data: Json, write_run: WriteRun) -> None:
    ((setting, found),) = found_in(write_run("first", "evaluate.json", evaluation_data)).items()
    assert shown(class_table(setting, found)) == [
        ["sky", "50.0", "40.0", "52.5 ± 2.1"],
        ["road", "25.0", "20.0", "26.2 ± 1.1"],
        ["sign symbol", "-", "-", "-"],
    ]


def test_table_5_by_hand(benchmark_data: Json, write_run: WriteRun) -> None:
    runs = open_runs([write_run("cpu", "benchmark.json", benchmark_data)])
    rows = {tuple(row[:2]): row[2:] for row in shown(runtime_table(runs.benchmarks))}
    size, nothing = "2048\N{MULTIPLICATION SIGN}1024", ["-", "-", "-", "-"]
    assert rows["arch2 per frame", "paper"] == ["1080Ti", size, "2.85", "92.4 ± 0.3", "-", "-", *nothing, "-", "-", "-"]
    assert rows["cell0", "paper"] == ["1080Ti", size, "3.35", "-", "-", "51.5 ± 1.8", *nothing, "-", "-", "-"]
    assert rows["Gadde et al.", "paper"][2:6] == ["> 60", "-", "-", "3040"]
    cell = rows["timed under another name", "ours"]
    assert cell[:4] == ["cpu: a processor, fp32", size, "3.15", "92.0 (91.0\N{EN DASH}94.0)"]
    assert cell[6] == "61.0 (60.0\N{EN DASH}63.0)"  # of 2
    assert cell[-3:] == ["26.90", "9.12", "700"]  # of 700.5, halves to even
    assert rows["arch2", "ours"][-2:] == ["-", "700"]


def test_the_papers_rows_bear_out_what_it_says_of_them() -> None:
    camvid = {row.method: row.miou for row in SCORES["camvid"].rows}
    assert min(camvid["cell0"], camvid["cell1"]) - camvid["arch2 per frame"] > 1  # "more than 1%"
    cityscapes = {row.method: row.miou for row in SCORES["cityscapes"].rows}
    for cell in ("cell2", "cell3"):
        assert cityscapes[cell] - cityscapes["arch2 per frame"] == pytest.approx(1.2)  # "by 1.2%"
    own = [row for row in RUNTIMES if not row.at_least]
    assert max(row.parameters for row in own) <= 3.4  # "at most 3.4M parameters"
    assert all(round(row.milliseconds, -1) == 50 for row in own if row.kind == "average")  # "50ms"
    assert [row.method for row in own if row.kind == "static"] == ["arch2 per frame"]
