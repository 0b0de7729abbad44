"""Is the best cell better than simpler things? ``python -m vseg_nas.compare run=DIR``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vseg_nas.cli.command import command
from vseg_nas.cli.typed_config import stored_config
from vseg_nas.console.lines import print_line
from vseg_nas.errors import RunError
from vseg_nas.nas.store import STORE, TrialStore
from vseg_nas.runs.digests import store_or_compare_weights_digest
from vseg_nas.runs.files import write_text
from vseg_nas.schema import CompareConfig, SearchConfig

if TYPE_CHECKING:
    from collections.abc import Iterable

    from vseg_nas.data import Clip
    from vseg_nas.results.comparison import ComparisonRow


def _preflight(config: CompareConfig) -> None:
    stored_config(Path(config.run), SearchConfig, "search")
    with TrialStore.read(Path(config.run) / STORE) as store:
        store.trials()


@command("compare", CompareConfig, _preflight)
def main(config: CompareConfig, run_dir: Path) -> None:
    """Trains the best cell, the same cell blind to the past, and random cells; scores them and the static network."""
    from rich.console import Console

    from vseg_nas.nas.history import best_cells

    console = Console()
    search_dir = Path(config.run)
    search = stored_config(search_dir, SearchConfig, "search")
    # Meta-val scores are compared with those of the search, so the network must be the one that it was run with.
    store_or_compare_weights_digest(search_dir, Path(search.static.weights))
    with TrialStore.read(search_dir / STORE) as store:
        best = best_cells(store.trials(), 1)
    if not best:
        raise RunError(f"{search_dir}: no trial has a score yet, expected at least one")
    # Torch is loaded from here on: what is wrong with the search so far is said at once.
    from vseg_nas.assembly.cell_comparison import Comparison
    from vseg_nas.assembly.meta_features import build_meta_data
    from vseg_nas.console.progress import track
    from vseg_nas.reporting.search_tables import comparison_table
    from vseg_nas.reporting.table_formats import markdown
    from vseg_nas.results.comparison import ComparisonResult
    from vseg_nas.results.result import command_line, today, write_result
    from vseg_nas.training.device import open_device

    def show(clips: Iterable[Clip], total: int) -> Iterable[Clip]:
        return track(clips, "caching features", total, console)

    device = open_device(search.gpu)
    data = build_meta_data(search, device, show)
    rows: list[ComparisonRow] = []
    for row in Comparison(search, config, device, data, search_dir, show).rows(best[0].trial.genotype):
        rows.append(row)
        result = ComparisonResult(
            dataset=search.dataset.name,
            search=config.run,
            rows=tuple(rows),
            command=command_line("compare"),
            date=today(),
        )
        path = write_result(run_dir, result)  # after every row: each takes a training, and none should be lost
        scores = f"meta-val {row.meta_val.score:.4f}, val {row.val.score:.4f}, val mIoU {row.val.miou:.4f}"
        print_line(console, f"{row.name}: {scores}")
    table = markdown(comparison_table(rows))
    write_text(run_dir / "compare.md", table)
    print_line(console, table)
    print_line(console, f"written: {run_dir / 'compare.md'}, {path}")


if __name__ == "__main__":
    main()
