import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from vseg_nas.reporting.methods import Method, Setting, methods
from vseg_nas.reporting.paper import RUNTIMES, SCORES
from vseg_nas.reporting.rendering import Number, Table
from vseg_nas.reporting.runs import open_runs
from vseg_nas.reporting.runtime_table import runtime_table
from vseg_nas.reporting.score_tables import class_table, detailed_table, score_table

Json = dict[str, Any]
WriteRun = Callable[[str, str, Json], Path]


def copied(data: Json) -> Json:
    return json.loads(json.dumps(data))  # type: ignore[no-any-return]


def shown(table: Table) -> list[list[str]]:
    return [["-" if cell is None else str(cell) for cell in row] for row in table.rows]


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


def test_an_evaluation_named_twice_or_repeated_counts_once(evaluation_data: Json, write_run: WriteRun) -> None:
    first = write_run("first", "evaluate.json", evaluation_data)
    again = write_run("again", "evaluate.json", evaluation_data)
    ((_, found),) = found_in(first, first, again).items()
    assert [(method.label, method.trainings) for method in found] == [
        ("static per frame", None),
        ("previous labels copied", None),
        ("best cell", 2),
    ]


def test_seeds_of_two_evaluations_are_one_method(evaluation_data: Json, write_run: WriteRun) -> None:
    other = copied(evaluation_data)
    other["rows"][3] |= {"seed": 3, "checkpoint": "runs/train/three"}
    ((_, found),) = found_in(
        write_run("first", "evaluate.json", evaluation_data), write_run("second", "evaluate.json", other)
    ).items()
    assert [row.seed for row in found[-1].rows] == [1, 2, 3]


def test_two_static_networks_are_two_methods(evaluation_data: Json, write_run: WriteRun) -> None:
    other = copied(evaluation_data)
    other["rows"][0]["pair"]["miou"] = 0.6
    ((_, found),) = found_in(
        write_run("first", "evaluate.json", evaluation_data), write_run("second", "evaluate.json", other)
    ).items()
    assert [m.label for m in found if m.is_static] == ["static per frame (first)", "static per frame (second)"]


def test_another_split_is_another_setting(evaluation_data: Json, write_run: WriteRun) -> None:
    first = write_run("first", "evaluate.json", evaluation_data)
    second = write_run("second", "evaluate.json", evaluation_data | {"split": "test"})
    settings = found_in(first, second)
    assert [setting.split for setting in settings] == ["val", "test"]
    assert len(score_table("camvid", settings).bodies) == 3  # the paper and each of them


def test_detailed_table_by_hand(evaluation_data: Json, write_run: WriteRun) -> None:
    ((setting, found),) = found_in(write_run("first", "evaluate.json", evaluation_data)).items()
    static, _, cell = shown(detailed_table(setting, found))
    assert static == ["static per frame", "-", "2.85", "50.0", "50.0", "50.0", "50.0", "50.0", "50.0", "50.0"]
    assert cell[1:4] == ["2", "3.15", "52.5 ± 2.1"]
    assert cell[-3:] == ["50.5 ± 2.1", "48.5 ± 2.1", "52.5 ± 2.1"]  # 0 to 4 points less, 2 in the mean


def test_what_was_not_measured_is_named(evaluation_data: Json, write_run: WriteRun) -> None:
    for row in evaluation_data["rows"]:
        row |= {"rolling": {}, "consistency": {}}
    evaluation_data["rows"][0]["consistency"] = {"vc8": {"refused": "runs are too short"}}
    ((setting, found),) = found_in(write_run("first", "evaluate.json", evaluation_data)).items()
    table = detailed_table(setting, found)
    assert [row[-3:] for row in shown(table)] == [["-", "-", "-"]] * 3
    assert table.notes[-1] == "VC8 is not measured: runs are too short."


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
    assert rows["arch2 per frame", "paper"] == ["1080Ti", size, "2.85", "92.4 ± 0.3", "-", "-", *nothing, "-", "-"]
    assert rows["cell0", "paper"] == ["1080Ti", size, "3.35", "-", "-", "51.5 ± 1.8", *nothing, "-", "-"]
    assert rows["Gadde et al.", "paper"][2:6] == ["> 60", "-", "-", "3040"]
    cell = rows["best cell", "ours"]
    assert cell[:4] == ["cpu: a processor, fp32", size, "3.15", "92.0 (91.0\N{EN DASH}94.0)"]
    assert cell[6] == "61.0 (60.0\N{EN DASH}63.0)"  # of 2
    assert cell[-2:] == ["26.90", "9.12"]
    assert rows["arch2", "ours"][-1] == "-"


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
