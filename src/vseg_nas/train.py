"""Trains a found cell: ``python -m vseg_nas.train cell=runs/search/camvid/first:1 dataset=camvid dataset.root=DIR``."""

from __future__ import annotations

from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from vseg_nas.assembly.cells import STATIC_CELL, cell_name, trained_cell
from vseg_nas.assembly.static_weights import ensure_static, require_static
from vseg_nas.cli.command import command
from vseg_nas.cli.printed import python_command, shared_overrides
from vseg_nas.cli.values import assignment
from vseg_nas.clock import working_s
from vseg_nas.console.lines import print_line
from vseg_nas.errors import ConfigError
from vseg_nas.runs.digests import store_or_compare_weights_digest
from vseg_nas.runs.files import read_if_there, write_text
from vseg_nas.runs.record import GENOTYPE_FILE
from vseg_nas.schema import TrainConfig

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console

    from vseg_nas.metrics import SegmentationScores
    from vseg_nas.results.training_result import TrainingResult
    from vseg_nas.space import Genotype
    from vseg_nas.training.device import Device
    from vseg_nas.training.fitting import EpochReport


def _preflight(config: TrainConfig) -> None:
    require_static(config)
    trained_cell(config.cell, config.past, config.flow)


@command("train", TrainConfig, _preflight)
def main(config: TrainConfig, run_dir: Path) -> None:
    """Trains the cell alone and then end to end, and writes ``video.safetensors`` into the run directory.

    Without a cell the static network is trained in its place.
    """
    from rich.console import Console

    from vseg_nas.assembly.final_training import SEGMENTER
    from vseg_nas.results.result import write_result
    from vseg_nas.training.device import open_device

    console = Console()
    started = working_s()
    device = open_device(config.gpu)
    ensure_static(config, device, run_dir, console)
    store_or_compare_weights_digest(run_dir, Path(config.static.weights))
    genotype = _store_or_compare_genotype(run_dir, trained_cell(config.cell, config.past, config.flow))
    what = "the static network alone" if genotype is None else genotype.expression()
    print_line(console, f"Training {what}")
    print_line(
        console,
        f"on {config.dataset.name}; Ctrl-C stops, {assignment('resume', run_dir)} continues.",
    )
    scores = _train(config, genotype, device, run_dir, console)
    write_result(run_dir, _result(config, device, run_dir / SEGMENTER, scores, working_s() - started))
    print_line(
        console,
        f"val, frames after the first of pairs: mIoU {scores.miou:.4f}  fwIoU {scores.fwiou:.4f}  "
        f"mAcc {scores.macc:.4f}  score {scores.score:.4f}",
    )
    print_line(console, f"network: {run_dir / SEGMENTER}")
    evaluate = f"vseg_nas.evaluate {assignment('checkpoint', run_dir / SEGMENTER)} {shared_overrides()}"
    print_line(console, f"next: {python_command()} -m {evaluate}".rstrip())


def _result(
    config: TrainConfig, device: Device, network: Path, scores: SegmentationScores, seconds: float
) -> TrainingResult:
    from vseg_nas.machine import describe
    from vseg_nas.models.complexity import count_parameters
    from vseg_nas.models.segmenter_file import load_segmenter
    from vseg_nas.results.result import command_line, today
    from vseg_nas.results.training_result import TrainingResult

    segmenter, spec = load_segmenter(network)
    return TrainingResult(
        dataset=config.dataset.name,
        classes=spec.classes,
        group=spec.group,
        genotype=spec.genotype,
        expression=spec.expression,
        past=spec.past,
        flow=spec.flow if spec.genotype else None,
        recipe=spec.recipe,
        seed=spec.seed,
        parameters=count_parameters(segmenter),
        checkpoint=network.name,
        val=scores,
        machine=describe(device.tensors),
        seconds=seconds,
        command=command_line("train"),
        date=today(),
    )


def _train(
    config: TrainConfig, genotype: Genotype | None, device: Device, run_dir: Path, console: Console
) -> SegmentationScores:
    from vseg_nas.assembly.data_sources import build_sources, store_or_compare_data_digests
    from vseg_nas.assembly.final_training import CellAndVideoTraining
    from vseg_nas.assembly.tracked_run import open_run
    from vseg_nas.console.progress import FitView, track, track_files
    from vseg_nas.results.scores import SCORE_NAMES
    from vseg_nas.tracking.wandb_logger import FitLogger

    store_or_compare_data_digests(run_dir, build_sources(config.dataset, config.runs_dir), track_files(console))
    with ExitStack() as stack:
        logger: FitLogger | None = None
        if config.logger.name != "none":
            logger = stack.enter_context(
                FitLogger(open_run(config, run_dir, group=genotype.key if genotype else STATIC_CELL))
            )

        @contextmanager
        def view(stage: str) -> Iterator[EpochReport]:
            with FitView(stage, console) as shown:

                def report(epoch: int, epochs: int, metrics: dict[str, float]) -> None:
                    shown.on_epoch(epoch, epochs, metrics)
                    if logger is not None:
                        logger.on_epoch(stage, epoch, metrics)

                yield report

        training = CellAndVideoTraining(
            dataset=config.dataset,
            runs_dir=config.runs_dir,
            training=config.phase.train,
            static_weights=Path(config.static.weights),
            genotype=genotype,
            name=cell_name(config.cell),
            past=config.past,
            flow=config.flow,
            seed=config.seed,
            device=device,
            run_dir=run_dir,
        )
        scores = training.run(lambda clips, total: track(clips, "caching features", total, console), view)
        if logger is not None:
            logger.on_end(genotype, {f"val/{name}": getattr(scores, name) for name in SCORE_NAMES})
    return scores


def _store_or_compare_genotype(run_dir: Path, genotype: Genotype | None) -> Genotype | None:
    """Stores the cell in the run, or compares it with the one that an earlier start stored.

    ``cell=RUN`` names the best cell of a search, and which cell that is changes while the search runs.

    Raises:
        ConfigError: The run began with another cell.
        DataError: What an earlier start stored cannot be read.
    """
    from vseg_nas.space.strict_json import MAX_CHARACTERS

    path, text = run_dir / GENOTYPE_FILE, genotype.to_json() if genotype else "null"
    stored = read_if_there(path, MAX_CHARACTERS, "a genotype")
    if stored is None:
        write_text(path, text)
    elif stored != text.encode():
        raise ConfigError(
            f"cell: it is another one now than when {run_dir} began; continue with {assignment('cell', path)}"
        )
    return genotype


if __name__ == "__main__":
    main()
