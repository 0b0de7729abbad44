"""Scores trained networks: ``python -m vseg_nas.evaluate checkpoint=FILE dataset=camvid dataset.root=DIR``."""

from __future__ import annotations

import datetime
import json
import shlex
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vseg_nas.assembly.static_network import require_static
from vseg_nas.checking import check_root
from vseg_nas.config import command, python_command
from vseg_nas.errors import DataError
from vseg_nas.schema import EvaluateConfig

if TYPE_CHECKING:
    from vseg_nas.assembly.evaluate import Evaluation, Method


def _preflight(config: EvaluateConfig) -> None:
    if config.baselines:
        require_static(config)
    check_root(config.dataset)
    for path in config.checkpoint:
        if not Path(path).is_file():
            raise DataError(f"checkpoint: found no file {path}, expected one that `train` wrote")


@command("evaluate", EvaluateConfig, _preflight)
def main(config: EvaluateConfig, run_dir: Path) -> None:
    """Scores the baselines and every checkpoint under both protocols and writes ``evaluate.json``."""
    from rich.console import Console

    from vseg_nas.assembly.evaluate import Evaluation
    from vseg_nas.machine import describe
    from vseg_nas.reporting.evaluation_results import EVALUATION_FILE, EVALUATION_FORMAT
    from vseg_nas.reporting.files import write_text
    from vseg_nas.reporting.progress import steps

    console, started = Console(), time.monotonic()
    evaluation = Evaluation(config)
    rows: list[dict[str, Any]] = []
    panels: list[dict[str, str]] = []
    static: Method | None = None
    for method in evaluation.methods():
        with steps(method.name, evaluation.clips_per_method, console) as tick:
            rows.append(evaluation.row(method, tick))
        console.print(_line(rows[-1]), soft_wrap=True, markup=False, highlight=False)
        if method.checkpoint is None:
            static = static or method
        elif not panels:
            panels = _save_pictures(evaluation, static, method, rows[-1]["name"], run_dir, config.panels)
    height, width = config.size or evaluation.pairs[0].masks[0].shape
    result = {
        "format": EVALUATION_FORMAT,
        "dataset": config.dataset.name,
        "split": config.split,
        "size": [height, width],
        "classes": list(evaluation.pairs.classes),
        "command": shlex.join(["python", "-m", "vseg_nas.evaluate", *sys.argv[1:]]),
        "machine": describe(evaluation.device),
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "seconds": round(time.monotonic() - started, 1),
        "rows": rows,
        "panels": panels,
    }
    write_text(run_dir / EVALUATION_FILE, json.dumps(result, indent=1, allow_nan=False))
    if config.logger.name != "none":
        _log(config, run_dir, rows, {panel["title"]: run_dir / panel["file"] for panel in panels})
    console.print(f"written: {run_dir / EVALUATION_FILE}", soft_wrap=True)
    console.print(f"next: {python_command()} -m vseg_nas.report run={run_dir}", soft_wrap=True)


def _line(row: dict[str, Any]) -> str:
    rolled = "".join(f", every {key}: {scores['miou']:.4f}" for key, scores in row["rolling"].items())
    return f"{row['group']}: mIoU of pairs {row['pair']['miou']:.4f}{rolled}"


def _log(config: EvaluateConfig, run_dir: Path, rows: list[dict[str, Any]], pictures: dict[str, Path]) -> None:
    from vseg_nas.assembly.logging import open_run
    from vseg_nas.reporting.wandb_logger import EvaluationLogger

    with EvaluationLogger(open_run(config, run_dir, group="evaluate")) as logger:
        logger.log(rows, pictures)


def _save_pictures(
    evaluation: Evaluation, static: Method | None, ours: Method, row: str, run_dir: Path, count: int
) -> list[dict[str, str]]:
    """The confusion matrix; pairs that are hardest for the static network, and those that improved most."""
    from vseg_nas.reporting.confusion_picture import save_confusion
    from vseg_nas.reporting.panel import save_panel

    title = f"{ours.name}: percent of the pixels of each class, pair protocol"
    path = save_confusion(
        evaluation.confusion(ours), evaluation.pairs.classes, run_dir / "panels" / "confusion.png", title
    )
    panels = [{"file": str(path.relative_to(run_dir)), "title": "confusion", "row": row}]
    if static is None or not count:
        return panels
    frames = evaluation.frames(static, ours)
    chosen = {
        "hardest": sorted(frames, key=lambda frame: frame.static)[:count],
        "most improved": sorted(frames, key=lambda frame: frame.static - frame.ours)[:count],
    }
    for title, picked in chosen.items():
        path = run_dir / "panels" / f"{title.replace(' ', '-')}.png"
        rows = [evaluation.panel_row(static, ours, frame) for frame in picked]
        source = evaluation.pairs
        save_panel(rows, path, source.classes, source.palette, ours.name, f"{title} frames, pair protocol")
        panels.append({"file": str(path.relative_to(run_dir)), "title": title, "row": row})
    return panels


if __name__ == "__main__":
    main()
