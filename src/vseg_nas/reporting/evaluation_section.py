"""Sections of a report on evaluations: Tables 3 and 4, rolling, score against cost, Figures 5 to 7."""

import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image

from vseg_nas.console.progress import Track
from vseg_nas.errors import DataError
from vseg_nas.figures.cell_drawing import draw_genotype
from vseg_nas.figures.pareto import draw_method_trade_off, is_rolled, latency_points, plottable
from vseg_nas.figures.rolling_curves import draw_rolling_curves
from vseg_nas.figures.style import plain
from vseg_nas.reporting.page import Block, Picture, Section
from vseg_nas.reporting.report_folder import ReportFolder
from vseg_nas.reporting.score_tables import class_table, detailed_table, score_table, share_table
from vseg_nas.reporting.sequence_tables import consistency_table, rolling_table
from vseg_nas.results.evaluation_result import SHOWN_KEY, EvaluationRun
from vseg_nas.results.methods import Method, Setting, methods, setting_of
from vseg_nas.results.runtime import BenchmarkRun
from vseg_nas.runs.files import read_regular
from vseg_nas.space import Genotype

FIGURES = {"camvid": "Figure 5", "cityscapes": "Figure 6"}
MAX_PANEL_BYTES = 32 * 2**20


def evaluation_sections(
    evaluations: Sequence[EvaluationRun], benchmarks: Sequence[BenchmarkRun], folder: ReportFolder, track: Track
) -> list[Section]:
    """Returns a section for each data set, and one with drawings of the evaluated cells; none without evaluations.

    Raises:
        DataError: A panel that an evaluation names is missing, or is not a PNG file in its run directory.
    """
    settings = methods(evaluations)
    sections = []
    for dataset in dict.fromkeys(setting.dataset for setting in settings):
        own = {setting: found for setting, found in settings.items() if setting.dataset == dataset}
        runs = [run for run in evaluations if run.results.dataset == dataset]
        commands = [run.results.command for run in runs]
        table = score_table(dataset, own)
        blocks: list[Block] = [folder.table(table.title, table, commands)]
        for setting, found in own.items():
            blocks += _setting(setting, found, [run for run in runs if setting_of(run) == setting], benchmarks, folder)
        blocks += [picture for run in runs for picture in _panels(run, folder)]
        sections.append(Section(table.title.partition(". ")[2] or table.title, tuple(blocks)))
    cells = _cells(evaluations, folder, track)
    return [*sections, Section("Evaluated cells", tuple(cells))] if cells else sections


def _setting(
    setting: Setting,
    found: Sequence[Method],
    runs: Sequence[EvaluationRun],
    benchmarks: Sequence[BenchmarkRun],
    folder: ReportFolder,
) -> list[Block]:
    commands = [run.results.command for run in runs]
    skip_reasons = dict.fromkeys(why for run in runs if (why := run.results.rolling_skip_reason))
    timed = [run.results for run in benchmarks]
    blocks: list[Block] = [
        folder.table(f"pairs {setting}", detailed_table(setting, found, skip_reasons, timed), commands),
        folder.table(f"classes {setting}", class_table(setting, found), commands),
    ]
    way = share_table(setting, found)
    if way is not None:
        blocks.append(folder.table(f"past {setting}", way, commands))
    if any(row.rolling for method in found for row in method.rows):
        blocks.append(folder.table(f"rolling {setting}", rolling_table(setting, found), commands))
        blocks.append(_rolling(setting, found, commands, folder))
    if any(row.consistency for method in found for row in method.rows):
        truth = next((run.results.truth_consistency for run in runs if run.results.truth_consistency), None)
        blocks.append(folder.table(f"consistency {setting}", consistency_table(setting, found, truth), commands))
    if plottable(found):
        blocks.append(_trade_off(setting, found, commands, benchmarks, folder))
    return blocks


def _rolling(setting: Setting, found: Sequence[Method], commands: Sequence[str], folder: ReportFolder) -> Picture:
    caption = (
        f"mIoU by the number of frames since the key frame, {setting}. Every sequence is labelled in order, with "
        f"a key frame every {SHOWN_KEY} frames or at the start only; all frames of the static network are key frames. "
        "Below, each cell is compared with the static network as fine-tuned by the same recipe where that was scored, "
        "otherwise as pre-trained. Bands reach from the least to the greatest training. With one key frame in "
        "a sequence each distance has few frames, so curves go up and down together with how hard these are."
    )
    files = folder.figure(f"rolling curves {setting}", draw_rolling_curves(found))
    return Picture(f"Rolling on {setting}", caption, files, tuple(commands))


def _trade_off(
    setting: Setting,
    found: Sequence[Method],
    commands: Sequence[str],
    benchmarks: Sequence[BenchmarkRun],
    folder: ReportFolder,
) -> Picture:
    timed = [run for run in benchmarks if latency_points(found, run.results)]
    results = [run.results for run in timed]
    rolling = f"of rolling with a key frame every {SHOWN_KEY} frames, against the mean time of a frame at that distance"
    pairs = "of pairs, against the time of a frame that is no key frame"
    caption = (
        f"Score on {setting} {rolling if is_rolled(found) else pairs}, and against parameters: static network, "
        "also as fine-tuned, and cells. Filled and joined: those that no other beats in both. Bars: standard deviation "
        "over trainings, quartiles of the time. Cells without a measured time are missing there."
    )
    files = folder.figure(f"pareto {setting}", draw_method_trade_off(found, results))
    made = (*commands, *(benchmark.command for benchmark in results))
    return Picture(f"Score against cost on {setting}", caption, files, made)


def _panels(run: EvaluationRun, folder: ReportFolder) -> list[Picture]:
    results = run.results
    number = FIGURES.get(results.dataset)
    pictures = []
    for panel in results.panels:
        content = _png(run.path, panel.file)
        title = f"{number}: frames ({panel.title})" if number else f"Frames ({panel.title})"
        caption = (
            f"From left to right the frame, the static network, {panel.row} and the truth, where void is black. "
            f"mIoUs are those of the frame alone. From {run.name}, {results.split}."
        )
        files = folder.copy(f"{run.name} {Path(panel.file).stem}", ".png", content)
        pictures.append(Picture(title, caption, files, (results.command,)))
    return pictures


def check_panels(runs: Sequence[EvaluationRun]) -> None:
    """Checks all panels before anything of a report is written.

    Raises:
        DataError: A panel cannot be used.
    """
    for run in runs:
        for panel in run.results.panels:
            _png(run.path, panel.file)


def _png(run_dir: Path, file: str) -> bytes:
    """Returns the content of a picture in a run directory. No other file of the machine can get into a report."""
    try:
        path = (run_dir / file).resolve()
        if not path.is_relative_to(run_dir.resolve()):
            raise DataError(f"{run_dir}: panel {file[:80]!r} lies outside, expected a file in the run directory")
        content = read_regular(path, MAX_PANEL_BYTES)
        with Image.open(io.BytesIO(content), formats=("PNG",)) as picture:
            picture.verify()
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise DataError(f"{run_dir}: panel {file[:80]!r} is not readable as PNG ({type(error).__name__})") from error
    return content


def _cells(evaluations: Sequence[EvaluationRun], folder: ReportFolder, track: Track) -> list[Picture]:
    """Returns Figure 7: a drawing of each evaluated cell."""
    pictures: dict[str, Picture] = {}
    for run in track(evaluations, "drawing evaluated cells"):
        for row in run.results.rows:
            if row.cell and row.cell.genotype.key not in pictures:
                genotype = row.cell.genotype
                pictures[genotype.key] = _drawing(genotype, row.group, run.results.command, folder)
    return list(pictures.values())


def _drawing(genotype: Genotype, name: str, command: str, folder: ReportFolder) -> Picture:
    files = folder.figure(f"cell {name}", draw_genotype(genotype, plain(name)))
    return Picture(f"Figure 7: {name}", f"{genotype.expression()}.", files, (command,))
