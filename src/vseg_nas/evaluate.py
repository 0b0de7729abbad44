"""Scores trained networks: ``python -m vseg_nas.evaluate checkpoint=FILE dataset=camvid dataset.root=DIR``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vseg_nas.assembly.required_files import require_checkpoint, require_dataset_root
from vseg_nas.assembly.static_weights import require_static
from vseg_nas.cli.command import command
from vseg_nas.cli.printed import python_command
from vseg_nas.cli.values import assignment, list_hint
from vseg_nas.clock import working_s
from vseg_nas.console.lines import print_line
from vseg_nas.runs.digests import (
    CHECKPOINT_DIGESTS_FILE,
    sha256_of,
    store_or_compare_digests,
    store_or_compare_weights_digest,
)
from vseg_nas.schema import EvaluateConfig

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rich.console import Console

    from vseg_nas.assembly.split_evaluator import MeasuredMethod, SplitEvaluator
    from vseg_nas.results.evaluation_result import EvaluationRow, Panel


def _preflight(config: EvaluateConfig) -> None:
    if config.baselines:
        require_static(config)
    require_dataset_root(config.dataset)
    for path in config.checkpoint:
        require_checkpoint(path, list_hint("checkpoint", path))


@command("evaluate", EvaluateConfig, _preflight)
def main(config: EvaluateConfig, run_dir: Path) -> None:
    """Scores the baselines and every checkpoint under both protocols and writes ``evaluate.json``."""
    from rich.console import Console

    from vseg_nas.assembly.split_evaluator import SplitEvaluator
    from vseg_nas.console.progress import steps
    from vseg_nas.machine import describe
    from vseg_nas.results.evaluation_result import CONSISTENCY_KEY_EVERY, EvaluationResult
    from vseg_nas.results.result import command_line, today, write_result

    console, started = Console(), working_s()
    evaluator = SplitEvaluator(config)
    _keep_input_digests(config, evaluator, run_dir, console)
    if evaluator.rolling_skip_reason:
        print_line(console, f"no rolling: {evaluator.rolling_skip_reason}")
    measured = _measure(evaluator, run_dir, console)
    with steps("ground truth", evaluator.truth_ticks, console) as tick:
        truth_consistency = evaluator.truth_consistency(tick)
    panels = _save_pictures(evaluator, measured, run_dir, config.panels)
    result = EvaluationResult(
        dataset=config.dataset.name,
        split=config.split,
        size=evaluator.frame_size,
        classes=evaluator.pairs.classes,
        consistency_key_every=CONSISTENCY_KEY_EVERY,
        rolling_skip_reason=evaluator.rolling_skip_reason,
        command=command_line("evaluate"),
        machine=describe(evaluator.device),
        date=today(),
        seconds=round(working_s() - started, 1),
        rows=tuple(network.result.row for network in measured),
        truth_consistency=truth_consistency,
        panels=tuple(panels),
    )
    path = write_result(run_dir, result)
    if config.logger.name != "none":
        _log(config, run_dir, result.rows, {panel.title: run_dir / panel.file for panel in panels})
    print_line(console, f"written: {path}")
    report = f"{python_command()} -m vseg_nas.report {assignment('run', run_dir)}"
    print_line(console, f"next: {report}")


def _keep_input_digests(config: EvaluateConfig, evaluator: SplitEvaluator, run_dir: Path, console: Console) -> None:
    """Stores the digests of networks and data, or compares them with those of an earlier start."""
    from vseg_nas.assembly.data_sources import store_or_compare_data_digests
    from vseg_nas.console.progress import track_files

    networks = {f"network {index}": sha256_of(Path(path)) for index, path in enumerate(config.checkpoint, 1)}
    store_or_compare_digests(run_dir / CHECKPOINT_DIGESTS_FILE, networks, "checkpoint")
    if config.baselines:
        store_or_compare_weights_digest(run_dir, Path(config.static.weights))
    store_or_compare_data_digests(run_dir, evaluator.sources, track_files(console))


def _measure(evaluator: SplitEvaluator, run_dir: Path, console: Console) -> list[MeasuredMethod]:
    """Measures all rows; each is stored as soon as it has been measured."""
    from vseg_nas.assembly.split_evaluator import MeasuredMethod
    from vseg_nas.console.progress import steps
    from vseg_nas.results.row_files import load_row, save_row

    classes, pairs = len(evaluator.pairs.classes), len(evaluator.pairs)
    measured = []
    for method in evaluator.methods:
        found = load_row(run_dir, evaluator.key(method), classes, pairs)
        if found is None:
            with steps(method.group, evaluator.ticks(method), console) as tick:
                found = evaluator.measure(method, tick)
            save_row(run_dir, evaluator.key(method), found)
        measured.append(MeasuredMethod(method, found))
        print_line(console, _line(found.row))
    return measured


def _line(row: EvaluationRow) -> str:
    rolled = "".join(f", every {key}: {scores.miou:.4f}" for key, scores in row.rolling.items())
    seed = "" if row.seed is None else f", seed {row.seed}"
    return f"{row.group}{seed}: mIoU of pairs {row.pair.miou:.4f}{rolled}"


def _log(config: EvaluateConfig, run_dir: Path, rows: Sequence[EvaluationRow], pictures: dict[str, Path]) -> None:
    from vseg_nas.assembly.tracked_run import open_run
    from vseg_nas.tracking.wandb_logger import EvaluationLogger

    with EvaluationLogger(open_run(config, run_dir, group="evaluate")) as logger:
        logger.log(rows, pictures)


def _save_pictures(evaluator: SplitEvaluator, measured: list[MeasuredMethod], run_dir: Path, count: int) -> list[Panel]:
    """Writes pictures of the first checkpoint, or of the first one with a cell if there is any.

    They are its confusion matrix, the pairs that are hardest for the static network, and the most improved pairs.
    """
    import numpy as np

    from vseg_nas.figures.confusion_matrix import save_confusion
    from vseg_nas.figures.frame_panel import save_panel
    from vseg_nas.results.evaluation_result import STATIC, Panel

    trained = [network for network in measured if network.method.spec is not None]
    ours = next((network for network in trained if network.method.has_cell), trained[0])
    static = next((network for network in measured if network.method.group == STATIC), None)
    source, folder, name = evaluator.pairs, run_dir / "panels", ours.method.group
    title = f"{name}: percent of the pixels of each class, pair protocol"
    path = save_confusion(np.array(ours.result.confusion), source.classes, folder / "confusion.png", title)
    panels = [Panel(file=str(path.relative_to(run_dir)), title="confusion", row=name)]
    if static is None or not count:
        return panels
    scores = zip(static.result.miou_per_frame, ours.result.miou_per_frame, strict=True)
    by_index = {
        i: (before, after) for i, (before, after) in enumerate(scores) if before is not None and after is not None
    }
    chosen = {
        "hardest": sorted(by_index, key=lambda index: by_index[index][0])[:count],
        "most improved": sorted(by_index, key=lambda index: by_index[index][0] - by_index[index][1])[:count],
    }
    for title, picked in chosen.items():
        path = folder / f"{title.replace(' ', '-')}.png"
        rows = evaluator.panel_rows(static, ours, picked)
        save_panel(rows, path, source.classes, source.palette, name, f"{title} frames, pair protocol")
        panels.append(Panel(file=str(path.relative_to(run_dir)), title=title, row=name))
    return panels


if __name__ == "__main__":
    main()
