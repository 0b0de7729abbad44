"""Labels video: ``python -m vseg_nas.predict source=drive.mp4``, ``source=frames/``, ``source=0`` (a camera)."""

from __future__ import annotations

import time
from contextlib import ExitStack, closing
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from vseg_nas.cli.command import command
from vseg_nas.console.lines import print_line
from vseg_nas.errors import missing_extra
from vseg_nas.schema import PredictConfig

if TYPE_CHECKING:
    from rich.console import Console

    from vseg_nas.assembly.video_prediction import LoadedPredictor
    from vseg_nas.results.predicted_video import PredictionResult
    from vseg_nas.video.frames import FrameSource
    from vseg_nas.video.prediction import VideoStatistics


def _preflight(config: PredictConfig) -> None:
    from vseg_nas.assembly.video_prediction import check_checkpoint, check_source

    check_source(config.source)
    check_checkpoint(config.checkpoint, config.runtime)
    if config.overlay and find_spec("av") is None:
        raise missing_extra("av", "to write video (overlay=false does without)", "video")


_PRODUCTS = ("overlay.mp4", "frames.csv", "predict.json", "labels")


@command("predict", PredictConfig, _preflight, products=(*_PRODUCTS, "overlay.partial.mp4"))
def main(config: PredictConfig, run_dir: Path) -> None:
    """Writes ``overlay.mp4``, ``frames.csv`` and ``predict.json``, and ``labels/`` if wanted."""
    from rich.console import Console

    from vseg_nas.assembly.frame_memory import check_frame_memory
    from vseg_nas.assembly.video_prediction import open_predictor, open_source
    from vseg_nas.results.result import write_result

    console = Console()
    with closing(open_source(config.source, config.rate)) as source:
        loaded = open_predictor(config)
        height, width = source.size
        small = loaded.predictor.size or source.size
        check_frame_memory("source" if loaded.predictor.size is None else "size", small, cuda=loaded.cuda)
        print_line(
            console,
            f"{config.source}: {width} x {height}, {float(source.rate):.3g} frames a second; labelled at "
            f"{small[1]} x {small[0]} by {loaded.name} on {loaded.device}",
        )
        started = time.perf_counter()
        statistics = _predict(config, run_dir, source, loaded, console)
        seconds = time.perf_counter() - started
        result = _result(config, source, loaded, statistics, seconds)
    write_result(run_dir, result)
    for line in _summary(result):
        print_line(console, line)
    written = " ".join(sorted(path.name for path in run_dir.iterdir() if path.name in _PRODUCTS))
    print_line(console, f"written: {run_dir}: {written}")


def _predict(
    config: PredictConfig, run_dir: Path, source: FrameSource, loaded: LoadedPredictor, console: Console
) -> VideoStatistics:
    from vseg_nas.assembly.video_prediction import build_keys
    from vseg_nas.console.progress import frames_view
    from vseg_nas.video.prediction import VideoStatistics, predict_video
    from vseg_nas.video.writers import (
        FRAMES_FILE,
        LABELS_FOLDER,
        OVERLAY_FILE,
        frame_table,
        full_palette,
        label_maps,
        overlay_video,
    )

    colours, statistics = full_palette(loaded.predictor.palette), VideoStatistics()
    total = min(filter(None, (config.frames, source.total)), default=None)
    with ExitStack() as stack:
        sinks = [stack.enter_context(frame_table(run_dir / FRAMES_FILE))]
        if config.overlay:
            shape = source.size, source.rate, source.time_base, source.pixel_aspect
            path = run_dir / OVERLAY_FILE
            sinks.append(stack.enter_context(overlay_video(path, *shape, colours, config.opacity)))
        if config.labels:
            sinks.append(stack.enter_context(label_maps(run_dir / LABELS_FOLDER, colours)))
        tick = stack.enter_context(frames_view(total, console))
        try:
            for prediction in predict_video(source, loaded.predictor, build_keys(config.key), config.frames):
                for sink in sinks:
                    sink(prediction)
                statistics.add(prediction)
                tick()
        except KeyboardInterrupt:
            if not source.endless:
                raise
    return statistics


def _result(
    config: PredictConfig, source: FrameSource, loaded: LoadedPredictor, statistics: VideoStatistics, seconds: float
) -> PredictionResult:
    from vseg_nas.results.predicted_video import PredictionResult
    from vseg_nas.results.result import command_line, today
    from vseg_nas.results.scores import Quartiles

    return PredictionResult(
        source=config.source,
        checkpoint=config.checkpoint,
        network=loaded.name,
        device=loaded.device,
        size=source.size,
        network_size=loaded.predictor.size or source.size,
        rate=float(source.rate),
        frames=statistics.frames,
        key_frames=statistics.keys,
        skipped=source.skipped,
        first_skipped=source.first_error or None,
        seconds=seconds,
        frames_per_second=statistics.frames / seconds,
        key_ms=Quartiles.of(list(statistics.key_ms)) if statistics.key_ms else None,
        dynamic_ms=Quartiles.of(list(statistics.dynamic_ms)) if statistics.dynamic_ms else None,
        command=command_line("predict"),
        date=today(),
    )


def _summary(result: PredictionResult) -> list[str]:
    lines = [
        f"{result.frames} frames in {result.seconds:.1f} s, {result.frames_per_second:.1f} frames a second, "
        f"reading and writing included; {result.key_frames} of them key frames"
    ]
    for name, times in (("key frames", result.key_ms), ("other frames", result.dynamic_ms)):
        if times is not None:
            lines.append(f"{name}: {times.median:.1f} ms ({times.low:.1f}-{times.high:.1f}), median (quartiles)")
    if result.skipped:
        lines.append(f"skipped: {result.skipped} frames; the first: {result.first_skipped}")
    return lines


if __name__ == "__main__":
    main()
