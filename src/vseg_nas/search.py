"""Searches dynamic cells: ``python -m vseg_nas.search [dataset=camvid dataset.root=DIR]``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vseg_nas.checking import check_root, to_plain
from vseg_nas.config import command
from vseg_nas.errors import DataError
from vseg_nas.schema import SearchConfig

if TYPE_CHECKING:
    from rich.console import Console

    from vseg_nas.nas.store import TrialStore


def _preflight(config: SearchConfig) -> None:
    """Real data needs a folder and a static network that was trained before; synthetic clips get one on the way.

    Raises:
        DataError: one of them is missing; the message is the command that makes it.
    """
    if config.dataset.name == "synthetic":
        return
    check_root(config.dataset)
    weights = Path(config.static.weights)
    if not weights.is_file():
        make = f"python -m vseg_nas.pretrain dataset={config.dataset.name} dataset.root={config.dataset.root}"
        raise DataError(f"static.weights: found no {weights}, expected the static network; make it with: {make}")


@command("search", SearchConfig, _preflight)
def main(config: SearchConfig, run_dir: Path) -> None:
    """Runs or continues one search; pre-trains first where the data set needs no files."""
    from rich.console import Console

    from vseg_nas.nas.lock import RunLock
    from vseg_nas.nas.store import STORE, TrialStore
    from vseg_nas.reporting.summary import final_summary, write_report

    console = Console()
    with RunLock(run_dir), TrialStore(run_dir / STORE) as store:
        _ensure_static(config, console)
        try:
            _search(config, run_dir, store, console)
        finally:
            if trials := store.trials():
                write_report(run_dir, trials)
                final_summary(console, trials, run_dir, _next_commands(run_dir))


def _search(config: SearchConfig, run_dir: Path, store: TrialStore, console: Console) -> None:
    console.print(f"Searching on {config.dataset.name}; Ctrl-C stops, resume={run_dir} continues.", soft_wrap=True)
    from contextlib import ExitStack

    from vseg_nas.assembly.search import build_loop, build_meta_data
    from vseg_nas.reporting.live import LiveView
    from vseg_nas.reporting.progress import track
    from vseg_nas.reporting.wandb_logger import WandbListener, open_wandb

    data = build_meta_data(
        config,
        Path(config.runs_dir) / "cache",
        lambda clips, total: track(clips, "caching features", total, console),
    )
    console.print(f"meta-train {data.train.clips} clips, meta-val {data.val.clips}; {data.leaks}", soft_wrap=True)
    with ExitStack() as stack:
        listeners: list[LiveView | WandbListener] = [stack.enter_context(LiveView(console))]
        if config.logger.name != "none":
            run = open_wandb(
                config.logger.name,  # type: ignore[arg-type]  # checked against the schema
                run_dir,
                config.logger.project,
                run_dir.name,
                to_plain(config),
                config.logger.group,
            )
            listeners.append(stack.enter_context(WandbListener(run)))
        build_loop(config, data, store, run_dir, listeners).run()


def _ensure_static(config: SearchConfig, console: Console) -> None:
    """Pre-trains the static network of synthetic clips where there is none yet; `_preflight` asks for others."""
    weights = Path(config.static.weights)
    if weights.is_file():
        return
    console.print(f"No static network yet: pre-training one into {weights.parent}", soft_wrap=True)
    from vseg_nas.assembly.static import run_pretraining
    from vseg_nas.reporting.progress import FitView

    with FitView("pre-training", console) as view:
        scores = run_pretraining(config, weights, view.on_epoch)
    console.print(f"static network: val mIoU {scores.miou:.4f}, score {scores.score:.4f}")


def _next_commands(run_dir: Path) -> list[str]:
    return [
        f"python -m vseg_nas.search resume={run_dir} phase.search.trials=N",
        f"python -m vseg_nas.compare run={run_dir}",
    ]


if __name__ == "__main__":
    main()
