"""Trains the static network of a data set: ``python -m vseg_nas.pretrain dataset=camvid dataset.root=DIR``."""

from pathlib import Path

from vseg_nas.assembly.required_files import require_dataset_root
from vseg_nas.assembly.static_weights import encoder_content
from vseg_nas.cli.command import command
from vseg_nas.cli.printed import python_command, shared_overrides
from vseg_nas.cli.values import assignment
from vseg_nas.console.lines import print_line
from vseg_nas.runs.digests import ENCODER_DIGEST_FILE, store_or_compare_digests
from vseg_nas.schema import PretrainConfig

WEIGHTS = "static.safetensors"


@command("pretrain", PretrainConfig, lambda config: require_dataset_root(config.dataset))
def main(config: PretrainConfig, run_dir: Path) -> None:
    """Trains, validates at full size, and writes ``static.safetensors`` into the run directory."""
    from rich.console import Console

    from vseg_nas.console.progress import FitView, track_files

    console = Console()
    print_line(
        console,
        f"Pre-training arch2 on {config.dataset.name}; Ctrl-C stops, {assignment('resume', run_dir)} continues.",
    )
    from vseg_nas.assembly.data_sources import build_single_frames, store_or_compare_data_digests
    from vseg_nas.assembly.static_pretraining import Pretraining
    from vseg_nas.training.device import open_device

    store_or_compare_digests(
        run_dir / ENCODER_DIGEST_FILE, {"encoder": encoder_content(config.static)}, "static.encoder_weights"
    )
    store_or_compare_data_digests(run_dir, build_single_frames(config.dataset, config.runs_dir), track_files(console))
    pretraining = Pretraining(
        config.dataset,
        config.runs_dir,
        config.phase.pretrain,
        config.static.encoder_weights,
        open_device(config.gpu),
        seed=config.seed,
        weights=run_dir / WEIGHTS,
    )
    with FitView("pre-training", console) as view:
        scores = pretraining.run(view.on_epoch)
    print_line(
        console,
        f"val: mIoU {scores.miou:.4f}  fwIoU {scores.fwiou:.4f}  mAcc {scores.macc:.4f}  score {scores.score:.4f}",
    )
    from vseg_nas.models.static import StaticSegmenter

    classes = StaticSegmenter.load(run_dir / WEIGHTS).classes
    ious = (
        f"{name} {'none' if iou is None else f'{iou:.3f}'}"
        for name, iou in zip(classes, scores.iou_per_class, strict=True)
    )
    print_line(console, f"IoU: {'  '.join(ious)}")
    print_line(console, f"weights: {run_dir / WEIGHTS}")
    print_line(console, f"next: {python_command()} -m vseg_nas.search {shared_overrides()}")


if __name__ == "__main__":
    main()
