"""The rows of a latency measurement: arch2, and networks with a cell, from files or with random weights."""

from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch

from vseg_nas.assembly.cells import cell_name, resolve_cell
from vseg_nas.assembly.frame_memory import check_frame_memory
from vseg_nas.data.cityscapes import CLASSES
from vseg_nas.errors import DataError
from vseg_nas.evaluation.frame_macs import frame_macs
from vseg_nas.evaluation.latency import measure, random_frames
from vseg_nas.evaluation.memory import peak_memory
from vseg_nas.evaluation.protocols import Tick
from vseg_nas.models.complexity import count_parameters
from vseg_nas.models.inference import optimized
from vseg_nas.models.propagation import EachFrame
from vseg_nas.models.segmenter_file import SegmenterSpec, load_segmenter
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.models.video_segmenter import VideoSegmenter
from vseg_nas.normalisation import IMAGENET_MEAN, IMAGENET_STD
from vseg_nas.results.runtime import LENGTHS, UNLIMITED, BenchmarkRow
from vseg_nas.results.scores import Quartiles
from vseg_nas.schema import BenchmarkConfig
from vseg_nas.training.device import Device, open_device

ARCH2 = "arch2"
_SEED = 0  # of random weights, which take no less time than trained ones
_AUTOCAST = {"bf16-mixed": ("bf16 autocast", torch.bfloat16), "16-mixed": ("fp16 autocast", torch.float16)}


@dataclass(frozen=True)
class BenchmarkNetwork:
    """A network that is measured: one row of the result.

    Attributes:
        name: The name in tables.
        segmenter: The network, ready for evaluation; arch2 has key frames alone.
        spec: The specification of the network with its cell; None for arch2.
    """

    name: str
    segmenter: VideoSegmenter
    spec: SegmenterSpec | None = None


class Benchmark:
    """Measures networks on frames of one size.

    Args:
        config: The configuration of `benchmark`.

    Raises:
        ConfigError: The device or the cell is not there.
        DataError: A checkpoint cannot be used, or has another number of classes than the rest.
    """

    def __init__(self, config: BenchmarkConfig) -> None:
        self._config = config
        device = open_device(config.gpu)
        self.device = device.tensors
        check_frame_memory("size", config.size, cuda=device.is_cuda)
        self.precision, self._autocast = _precision(device)
        self.form = "batch norms folded, channels-last" if config.optimize else "as trained"
        found = [(path, *load_segmenter(Path(path))) for path in config.checkpoint or ()]
        self.classes = config.classes or (len(found[0][2].classes) if found else len(CLASSES))
        for path, _, spec in found:
            if len(spec.classes) != self.classes:
                why = "classes= says" if config.classes else f"{found[0][0]} has"
                raise DataError(f"{path}: trained for {len(spec.classes)} classes, expected {self.classes}, as {why}")
        self.networks = [
            _arch2(self.classes),
            *(BenchmarkNetwork(spec.group, segmenter, spec) for _, segmenter, spec in found),
        ]
        if config.cell is not None:
            self.networks.append(_with_cell(config.cell, self.classes, config.flow))

    @property
    def ticks_per_network(self) -> int:
        """The number of ticks of `row`."""
        return self._config.warmup + self._config.repeats

    def row(self, network: BenchmarkNetwork, tick: Tick) -> BenchmarkRow:
        """Measures everything of one network; meanwhile only that network is on the device."""
        plain, size = network.segmenter.to(self.device), self._config.size
        segmenter = optimized(plain) if self._config.optimize else plain
        frames = random_frames(size, self.device)
        with self._autocast:  # one for all frames, so that weights are converted once
            latency = measure(segmenter, frames, self._config.repeats, self._config.warmup, tick)
            peak_mib = peak_memory(segmenter, frames)
        plain.cpu()
        macs_static, macs_dynamic = frame_macs(plain, size)
        spec = network.spec
        dynamic = None if latency.dynamic is None else Quartiles.of(latency.dynamic)
        averages = None
        if dynamic is not None:
            averages = {str(frames): Quartiles.of(latency.average(frames)) for frames in LENGTHS} | {UNLIMITED: dynamic}
        return BenchmarkRow(
            name=network.name,
            genotype=spec.genotype if spec else None,
            expression=spec.expression if spec else "",
            past=spec.past if spec else None,
            flow=spec.flow if spec and spec.genotype else None,
            parameters=count_parameters(plain),
            macs_static=macs_static,
            macs_dynamic=macs_dynamic,
            static_ms=Quartiles.of(latency.static),
            dynamic_ms=dynamic,
            average_ms=averages,
            peak_mib=peak_mib,
        )


def _arch2(classes: int) -> BenchmarkNetwork:
    with torch.random.fork_rng():
        torch.manual_seed(_SEED)
        static = StaticSegmenter(tuple(map(str, range(classes))), auxiliary=False)
    return BenchmarkNetwork(ARCH2, VideoSegmenter(static, EachFrame(), key_every=1).eval())


def _with_cell(cell: str, classes: int, flow: bool) -> BenchmarkNetwork:
    names, palette = tuple(map(str, range(classes))), ((0, 0, 0),) * classes
    genotype = resolve_cell(cell, flow)
    spec = SegmenterSpec(
        cell_name(cell),
        _SEED,
        "untrained",
        names,
        palette,
        genotype,
        "previous",
        flow,
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
    with torch.random.fork_rng():
        torch.manual_seed(_SEED)
        return BenchmarkNetwork(spec.group, spec.build().eval(), spec)


def _precision(device: Device) -> tuple[str, AbstractContextManager[Any]]:
    """Returns the precision in words and as a context; the CPU always computes in float32."""
    if device.is_cuda and device.precision in _AUTOCAST:
        words, dtype = _AUTOCAST[device.precision]
        return words, torch.autocast("cuda", dtype)
    shortened = device.is_cuda and torch.backends.cudnn.allow_tf32
    return "fp32, convolutions in TF32" if shortened else "fp32", torch.autocast(device.kind, enabled=False)
