import csv
from pathlib import Path

import pytest
from rich.console import Console

from tests.fixtures import MakeTrials
from vseg_nas.console.summary import final_summary
from vseg_nas.console.tables import best_cells_table
from vseg_nas.nas.trial import Evaluation, Trial, TrialState
from vseg_nas.nas.trial_rows import write_trials_csv
from vseg_nas.reporting.search_files import ranking_table, write_report
from vseg_nas.reporting.table_formats import markdown
from vseg_nas.results.numbers import duration, quantity
from vseg_nas.space import Genotype, Layer

CELL = Genotype((Layer(1, 2, 0, 4, 1),))
OTHER = Genotype((Layer(0, 4, 5, 1, 5),))


def two_trials() -> list[Trial]:
    first = Trial(0, CELL, 1, TrialState.RUNNING)
    second = Trial(1, OTHER, 2, TrialState.RUNNING)
    return [
        first.completed(Evaluation(0.41236, 0.3, 0.5, 0.5, 56_789, 1_234_567_890, 9.5, 10, stopped=True)),
        second.completed(Evaluation(0.5, 0.41, 0.6, 0.5, 1_500_000, 98_760_000, 9.5, 20)),
    ]


def test_markdown_by_hand() -> None:
    assert markdown(ranking_table(two_trials(), 5)).splitlines() == [
        "| rank | trial | score | mIoU | params | MACs | epochs | cell |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
        "| 1 | 1 | 0.5000 | 0.4100 | 1.50M | 98.8M | 20 | `a = attend(deform(prev_l4), gap(l4)); out = a` |",
        "| 2 | 0 | 0.4124 | 0.3000 | 56.8k | 1.23G | 10, stopped | `a = cat(sep3(prev_dec), l2); out = a` |",
    ]


def test_terminal_table_holds_the_same_cells_in_order() -> None:
    table = best_cells_table(two_trials(), 5)
    cells = [list(column.cells) for column in table.columns]
    assert [column[0] for column in cells] == [
        "1",
        "1",
        "0.5000",
        "0.4100",
        "1.50M",
        "98.8M",
        "20",
        cells[-1][0],
    ]
    assert cells[1] == ["1", "0"]
    assert cells[-1][1] == "a = cat(sep3(prev_dec), l2)\nout = a"


def test_csv_round_trip(make_trials: MakeTrials, tmp_path: Path) -> None:
    trials = make_trials(20)
    path = write_trials_csv(reversed(trials), tmp_path / "trials.csv")
    with path.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["trial"]) for row in rows] == list(range(20))
    for row, trial in zip(rows, trials, strict=True):
        assert Genotype.from_json(row["genotype"]) == trial.genotype
        assert row["state"] == trial.state
        assert row["reason"] == (trial.reason or "")
        assert row["reused_from"] == ("" if trial.reused_from is None else str(trial.reused_from))
        if trial.evaluation is None:
            assert row["score"] == row["macs"] == row["stopped"] == ""
        else:
            assert float(row["score"]) == trial.evaluation.score  # exact: floats are written in full
            assert float(row["seconds"]) == trial.evaluation.seconds
            assert int(row["macs"]) == trial.evaluation.macs
            assert row["stopped"] == str(trial.evaluation.stopped)


def test_report_and_final_summary(make_trials: MakeTrials, tmp_path: Path) -> None:
    trials = make_trials(16)
    paths = write_report(tmp_path, trials)
    names = ["reward.png", "shares.png", "best_cell.png", "best_cell.svg", "trials.csv", "best_cells.md"]
    assert paths == [tmp_path / "report" / name for name in names]
    assert sorted(path.name for path in (tmp_path / "report").iterdir()) == sorted(names)

    console = Console(width=60)
    with console.capture() as capture:
        final_summary(console, trials, tmp_path, ["python -m vseg_nas.train " + "x" * 80])
    text = capture.get()
    assert "16 candidates tried" in text
    assert "2 failed" in text
    assert f"run directory: {tmp_path}" in text
    assert "  report/reward.png\n" in text
    assert f"  python -m vseg_nas.train {'x' * 80}\n" in text  # not wrapped: it is there to be copied


def test_final_summary_without_a_score(make_trials: MakeTrials, tmp_path: Path) -> None:
    console = Console(width=80)
    failures = [trial for trial in make_trials(8) if trial.evaluation is None]
    with console.capture() as capture:
        final_summary(console, failures, tmp_path, [])
    assert "No candidate has a score." in capture.get()
    assert "1 candidates tried: 1 failed" in capture.get()


@pytest.mark.parametrize(
    ("number", "text"),
    [
        (0, "0"),
        (999, "999"),
        (1000, "1.00k"),
        (9_996, "10.0k"),
        (99_960, "100k"),
        (999_400, "999k"),
        (999_600, "1.00M"),
        (2_240_000_000, "2.24G"),
    ],
)
def test_quantity(number: int, text: str) -> None:
    assert quantity(number) == text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.04, "0.0 s"),
        (9.96, "10 s"),
        (59.4, "59 s"),
        (59.6, "1 min 00 s"),
        (3599.4, "59 min 59 s"),
        (11_220, "3 h 07 min"),
    ],
)
def test_duration(seconds: float, text: str) -> None:
    assert duration(seconds) == text
