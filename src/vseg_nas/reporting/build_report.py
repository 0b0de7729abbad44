"""Builds a report of any number of runs: every figure and table in files of their own, and one page with them all."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from vseg_nas.console.progress import Track, untracked
from vseg_nas.nas.history import best_cells, ended
from vseg_nas.reporting.evaluation_section import check_panels, evaluation_sections
from vseg_nas.reporting.opened_runs import Runs, SearchRun, open_runs
from vseg_nas.reporting.page import Section, page_html
from vseg_nas.reporting.report_folder import ReportFolder
from vseg_nas.reporting.run_sections import (
    check_sections,
    comparison_sections,
    prediction_sections,
    training_sections,
)
from vseg_nas.reporting.runtime_table import runtime_table
from vseg_nas.reporting.search_section import reward_section, search_section
from vseg_nas.reporting.table_formats import Column, Row, Table
from vseg_nas.results.comparison import ComparisonResult
from vseg_nas.results.data_check import CheckResult
from vseg_nas.results.evaluation_result import EvaluationResult
from vseg_nas.results.methods import frame_size, measured_on
from vseg_nas.results.names import dataset_label
from vseg_nas.results.numbers import duration
from vseg_nas.results.predicted_video import PredictionResult
from vseg_nas.results.result import Result
from vseg_nas.results.runtime import BenchmarkResult
from vseg_nas.results.training_result import TrainingResult
from vseg_nas.runs.files import write_text

PAGE = "report.html"
INTRODUCTION = (
    "Tables 3 to 5 and Figures 3 to 7 have the numbers they have in the paper. Scores are fractions where they come "
    "from searches, otherwise percent. This page was made by:"
)


def build_report(runs: Sequence[Path], out: Path, track: Track = untracked) -> list[Path]:
    """Reads runs of all kinds and writes the figures and tables that they allow, and the page.

    Args:
        runs: Run directories of commands that leave results, in any mixture.
        out: The folder of the report; it is made if it does not exist, and each file is replaced whole.
        track: Shows the progress of reading and drawing.

    Returns:
        The files written, the page first.

    Raises:
        RunError: A directory holds no run, or a damaged search.
        DataError: A file of results is damaged.
    """
    found = open_runs(runs, track)
    check_panels(found.evaluations)
    folder = ReportFolder(out)
    sections = [_overview(found, folder), *reward_section(found.searches, folder)]
    evaluated = {row.cell.genotype.key for run in found.evaluations for row in run.results.rows if row.cell}
    sections += evaluation_sections(found.evaluations, found.benchmarks, folder, track)
    if found.benchmarks:
        commands = [run.results.command for run in found.benchmarks]
        table = runtime_table(found.benchmarks)
        sections.append(Section("Size and time", (folder.table("table-5-runtime", table, commands),)))
    sections += comparison_sections(found, folder)
    sections += training_sections(found, folder)
    for run in track(found.searches, "drawing searches"):
        sections += search_section(run, folder, evaluated)
    sections += check_sections(found, folder)
    sections += prediction_sections(found, folder)
    names = dict.fromkeys([*(run.name for run in found.searches), *(run.name for run in found.with_results)])
    command = shlex.join(["python", "-m", "vseg_nas.report", f"run=[{','.join(map(_item, runs))}]"])
    page = out / PAGE
    title = f"vseg_nas report: {', '.join(names)}"
    write_text(page, page_html(title, INTRODUCTION, command, sections))
    return [page, *folder.written]


def _item(run: Path) -> str:
    """Returns a path as an item of a list on a command line."""
    text = str(run)
    return '"' + text.replace('"', r"\"") + '"' if "," in text or text[0] in "'\"" else text


def _overview(found: Runs, folder: ReportFolder) -> Section:
    columns = ("run", "kind", "data", "what it holds", "machine", "date")
    rows: list[Row] = [_search_row(run) for run in found.searches]
    rows += [(run.name, *_contents(run.results), run.results.date) for run in found.with_results]
    table = Table("Runs of this report", tuple(Column(c, left=True) for c in columns), (tuple(rows),))
    commands = [run.command for run in found.searches]
    commands += [run.results.command for run in found.with_results]
    return Section("Runs", (folder.table("runs", table, commands),))


def _contents(results: Result) -> tuple[str, str | None, str, str | None]:
    """Returns kind, data, contents and machine of a run, for the overview."""
    match results:
        case EvaluationResult():
            where = measured_on(results.dataset, results.split, results.size)
            return "evaluation", where, f"{len(results.rows)} rows, {duration(results.seconds)}", results.machine
        case BenchmarkResult():
            content = f"{len(results.rows)} rows, {results.repeats} repeats"
            return "latency", frame_size(results.size), content, results.device
        case TrainingResult():
            where = dataset_label(results.dataset)
            return "training", where, f"{results.group}, seed {results.seed}", results.machine
        case ComparisonResult():
            where = dataset_label(results.dataset)
            return "comparison", where, f"{len(results.rows)} rows", None
        case CheckResult():
            problems = sum(len(split.problems) for split in results.splits.values())
            where = dataset_label(results.dataset)
            return "check", where, f"{problems} files that cannot be used", None
        case PredictionResult():
            return "labelled video", results.source, f"{results.frames} frames", results.device
    raise TypeError(f"results: found {type(results).__name__}, expected one of the models of `open_runs`")


def _search_row(run: SearchRun) -> Row:
    dataset = str(run.config["dataset.name"])
    content = f"{run.config['strategy.name']}, seed {run.config.get('seed', '-')}: {len(ended(run.trials))} candidates"
    for best in best_cells(run.trials, 1):
        content += f", best score {best.evaluation.score:.4f}"
    seconds = sum(trial.evaluation.seconds for trial in run.trials if trial.evaluation is not None)
    content += f", {duration(seconds)} of training"
    return (run.name, "search", dataset_label(dataset), content, None, None)
