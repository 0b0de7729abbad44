"""What train, compare, check and predict leave, in a report."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.builders import shown
from tests.fixtures import Json, WriteRun
from vseg_nas.errors import DataError
from vseg_nas.reporting.build_report import build_report
from vseg_nas.reporting.opened_runs import open_runs
from vseg_nas.reporting.run_sections import check_table, prediction_table, training_table
from vseg_nas.reporting.search_tables import comparison_table


def test_a_report_shows_all_of_them(other_results: dict[str, Json], write_run: WriteRun, tmp_path: Path) -> None:
    runs = [write_run(f"run-{file.partition('.')[0]}", file, data) for file, data in other_results.items()]
    page, *files = build_report(runs, tmp_path / "report")
    headings = re.findall("<h2>(.*?)</h2>", page.read_text())
    tables = ["Best cells beside simpler things", "Final trainings", "Checked data", "Labelled videos"]
    assert headings == ["Runs", *tables]
    assert {"comparison-run-compare.csv", "trainings.tex", "check-run-check.md", "labelled-videos.csv"} <= {
        path.name for path in files
    }
    text = (tmp_path / "report" / "runs.md").read_text()
    for kind in ("training", "comparison", "check", "labelled video"):
        assert f"| {kind} |" in text


def test_tables_by_hand(other_results: dict[str, Json], write_run: WriteRun) -> None:
    found = open_runs([write_run(file, file, data) for file, data in other_results.items()])
    (training,) = shown(training_table(found.trainings))
    assert training[:3] == ["train.json", "CamVid", "first:1"]
    assert training[4:] == ["3", "3.15", "62.5", "62.5", "62.5", "62.5", "1 min 15 s"]
    (comparison,) = found.comparisons
    static, best, median = shown(comparison_table(comparison.results.rows))
    assert static == ["static network per frame", "-", "50.0", "50.0", "50.0", "50.0", "-"]
    assert best == ["best cell", "1", "60.0", "60.0", "60.0", "60.0", "300000"]
    assert median[:3] == ["median of 3 random cells", "1", "50.0"]
    (check,) = found.checks
    assert shown(check_table(check.results)) == [
        ["frames", "3"],
        ["masks", "3"],
        ["sequences of successive frames", "1"],
        ["files that cannot be used", "1"],
        ["road, %", "75.00"],
        ["ignored, %", "12.50"],
    ]
    (video,) = shown(prediction_table(found.predictions))
    assert video[1] == "drive.mp4"
    assert video[4:] == [
        "960\N{MULTIPLICATION SIGN}540",
        "240\N{MULTIPLICATION SIGN}180",
        *("7", "3", "1", "14.0", "-"),
        "30.0 (29.0\N{EN DASH}32.0)",
    ]


@pytest.mark.parametrize("file", ["train.json", "compare.json", "check.json", "predict.json"])
def test_a_damaged_one_or_one_of_an_older_format_is_refused_in_one_line(
    file: str, other_results: dict[str, Json], write_run: WriteRun, tmp_path: Path
) -> None:
    data = other_results[file]
    changes: dict[str, Callable[[], object]] = {
        "format: found None": lambda: data.pop("format"),
        "date: found no such key": lambda: data.pop("date"),
        "command: found 3, expected the command": lambda: data.update(command=3),
        "code: found an unknown key": lambda: data.update(code="import os"),
    }
    for message, change in changes.items():
        before = dict(data)
        change()
        with pytest.raises(DataError) as raised:
            build_report([write_run("run", file, data)], tmp_path / "report")
        assert message in str(raised.value)
        assert len(str(raised.value).splitlines()) == 1
        data.clear()
        data |= before
    assert not (tmp_path / "report").exists()
