"""Reads every file of a data set: ``python -m vseg_nas.check dataset=camvid dataset.root=DIR``."""

from __future__ import annotations

import os
from pathlib import Path

from vseg_nas.assembly.required_files import require_dataset_root
from vseg_nas.cli.command import command
from vseg_nas.console.lines import print_line
from vseg_nas.data.settings import SyntheticSettings
from vseg_nas.errors import DataError
from vseg_nas.runs.files import write_text
from vseg_nas.schema import CheckConfig

MOST_SHOWN = 20
"""How many sequences of a split are listed one by one."""


def _preflight(config: CheckConfig) -> None:
    if isinstance(config.dataset, SyntheticSettings):
        raise DataError("dataset: found synthetic, which has no files, expected camvid or cityscapes")
    require_dataset_root(config.dataset)


@command("check", CheckConfig, _preflight)
def main(config: CheckConfig, run_dir: Path) -> None:
    """Names every file that cannot be used; if there is none, leaves a manifest that later runs compare with."""
    from rich.console import Console

    from vseg_nas.assembly.dataset_files import SplitReport, layouts, manifest_path
    from vseg_nas.console.progress import track
    from vseg_nas.console.tables import sequences_table, shares_table
    from vseg_nas.data.inspection import inspect
    from vseg_nas.data.manifest import Manifest
    from vseg_nas.results.data_check import CheckResult
    from vseg_nas.results.result import command_line, today, write_result

    dataset = config.dataset
    assert not isinstance(dataset, SyntheticSettings), "refused above"
    console = Console()
    reports = {split: SplitReport(layout) for split, layout in layouts(dataset).items()}
    for split, report in reports.items():
        total = len(report.layout.frames) + len(report.layout.masks)
        files = inspect(report.layout, config.threads or os.cpu_count() or 1)
        report.add(track(files, f"reading {split}", total, console))
    result = CheckResult(
        dataset=dataset.name,
        root=str(dataset.root),
        splits={split: report.result for split, report in reports.items()},
        command=command_line("check"),
        date=today(),
    )
    write_result(run_dir, result)
    console.print(shares_table(result.splits))
    console.print(sequences_table(result.splits, MOST_SHOWN))
    problems = [problem for report in reports.values() for problem in report.problems]
    for problem in problems:
        print_line(console, problem)
    if problems:
        files_in_all = sum(len(r.problems) + len(r.digests) for r in reports.values())
        raise DataError(f"{dataset.root}: found {len(problems)} of {files_in_all} files that cannot be used")
    for split, report in reports.items():
        if not report.shares and split != "test":  # of which the labels may be withheld
            masks = len(report.layout.masks)
            raise DataError(f"{dataset.root}: found no labelled pixel in the {masks} masks of {split}, expected some")
    root = Path(str(dataset.root))
    manifest = Manifest.of(root, {path: d for report in reports.values() for path, d in report.digests.items()})
    path = write_text(manifest_path(Path(config.runs_dir), dataset.name), manifest.to_json())
    print_line(console, f"{len(manifest.records)} files can be used; manifest: {path}")


if __name__ == "__main__":
    main()
