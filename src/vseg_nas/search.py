"""Searches dynamic cells: ``python -m vseg_nas.search [dataset=camvid dataset.root=DIR]``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from vseg_nas.assembly.static_weights import ensure_static, require_static
from vseg_nas.cli.command import command
from vseg_nas.cli.printed import python_command, shared_overrides
from vseg_nas.cli.values import assignment
from vseg_nas.console.lines import print_line
from vseg_nas.nas.executors.ray_head import require_head, require_ray
from vseg_nas.nas.executors.settings import RaySettings
from vseg_nas.runs.digests import store_or_compare_weights_digest
from vseg_nas.schema import SearchConfig

if TYPE_CHECKING:
    from rich.console import Console

    from vseg_nas.assembly.meta_features import MetaData
    from vseg_nas.nas.store import TrialStore
    from vseg_nas.training.device import Device


def _preflight(config: SearchConfig) -> None:
    require_static(config)
    executor = config.executor
    if config.gpu.devices != 1:
        from vseg_nas.assembly.executor_choice import executor_of  # loads torch, which counts the devices

        executor = executor_of(config)
    if isinstance(executor, RaySettings):
        require_ray()
        require_head(executor.address)


@command("search", SearchConfig, _preflight)
def main(config: SearchConfig, run_dir: Path) -> None:
    """Runs or continues one search; pre-trains first where the data set needs no files."""
    from rich.console import Console

    from vseg_nas.console.summary import final_summary
    from vseg_nas.nas.store import STORE, TrialStore
    from vseg_nas.reporting.search_files import write_report
    from vseg_nas.training.device import open_device

    console = Console()
    if (run_dir / STORE).is_file():
        with TrialStore.read(run_dir / STORE) as stored:
            stored.trials()  # a damaged one, or odd rows, before anything is computed
    device = open_device(config.gpu)
    ensure_static(config, device, run_dir, console)
    store_or_compare_weights_digest(run_dir, Path(config.static.weights))
    print_line(
        console,
        f"Searching on {config.dataset.name}; Ctrl-C stops, {assignment('resume', run_dir)} continues.",
    )
    data = _meta_data(config, device, run_dir, console)
    with TrialStore(run_dir / STORE) as store:
        try:
            _search(config, device, run_dir, data, store, console)
        finally:
            if trials := store.trials():
                write_report(run_dir, trials)
                ended = sum(trial.state.is_final for trial in trials) >= config.phase.search.trials
                final_summary(console, trials, run_dir, _next_commands(config, run_dir, ended))


def _meta_data(config: SearchConfig, device: Device, run_dir: Path, console: Console) -> MetaData:
    from vseg_nas.assembly.data_sources import build_sources, store_or_compare_data_digests
    from vseg_nas.assembly.meta_features import build_meta_data
    from vseg_nas.console.progress import track, track_files

    store_or_compare_data_digests(run_dir, build_sources(config.dataset, config.runs_dir), track_files(console))
    data = build_meta_data(
        config,
        device,
        lambda clips, total: track(clips, "caching features", total, console),
    )
    train, val = data.split.train, data.split.val
    print_line(console, f"meta-train {len(train)} clips, meta-val {len(val)}; {data.leaks}")
    return data


def _search(
    config: SearchConfig, device: Device, run_dir: Path, data: MetaData, store: TrialStore, console: Console
) -> None:
    from contextlib import ExitStack

    from vseg_nas.assembly.search_plan import plan_search
    from vseg_nas.assembly.tracked_run import open_run
    from vseg_nas.console.live import LiveView
    from vseg_nas.tracking.wandb_logger import WandbListener

    with ExitStack() as stack:
        listeners: list[LiveView | WandbListener] = [stack.enter_context(LiveView(console))]
        if config.logger.name != "none":
            listeners.append(stack.enter_context(WandbListener(open_run(config, run_dir))))
        plan_search(config, device).loop(data.features, store, run_dir, listeners).run()


def _next_commands(config: SearchConfig, run_dir: Path, ended: bool) -> list[str]:
    more = f" phase.search.trials={2 * config.phase.search.trials}" if ended else ""
    return [
        f"{python_command()} -m vseg_nas.search {assignment('resume', run_dir)}{more}",
        f"{python_command()} -m vseg_nas.compare {assignment('run', run_dir)}",
        f"{python_command()} -m vseg_nas.train {assignment('cell', f'{run_dir}:1')} {shared_overrides()}".rstrip(),
    ]


if __name__ == "__main__":
    main()
