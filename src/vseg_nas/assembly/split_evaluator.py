"""The rows of an evaluation: trained networks, and what they have to beat, under both protocols."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

from torch import nn

from vseg_nas.assembly.data_sources import PAIR, build_source
from vseg_nas.assembly.frame_memory import check_frame_memory
from vseg_nas.assembly.static_loading import load_static_for
from vseg_nas.data import ClipSource, resized
from vseg_nas.data.cityscapes import SNIPPET
from vseg_nas.data.inspection import require_labels
from vseg_nas.data.settings import CityScapesSettings
from vseg_nas.errors import ConfigError, DataError
from vseg_nas.evaluation.consistency import ConsistencyMeter, FlowStore
from vseg_nas.evaluation.frame_macs import frame_macs
from vseg_nas.evaluation.panel_row import PanelRow
from vseg_nas.evaluation.protocols import (
    Tick,
    label_pair,
    roll,
    roll_from_counts,
    roll_truth,
    rolling_scores,
    score_pairs,
)
from vseg_nas.evaluation.sequences import SplitSequences, sequences_of
from vseg_nas.models.complexity import count_parameters
from vseg_nas.models.propagation import AverageOverTime, CellPropagation, CopyPrevious, EachFrame, WarpPrevious
from vseg_nas.models.segmenter_file import SegmenterSpec, load_segmenter
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.models.video_segmenter import VideoSegmenter
from vseg_nas.normalisation import IMAGENET_MEAN, IMAGENET_STD
from vseg_nas.results.evaluation_result import (
    AVERAGED,
    AVERAGED_BY_FLOW,
    CONSISTENCY_KEY_EVERY,
    COPIED,
    KEY_EVERY,
    STATIC,
    WARPED,
    EvaluationResult,
    EvaluationRow,
    rolling_key,
)
from vseg_nas.results.row_files import MeasuredRow
from vseg_nas.results.scores import AnyConsistency, RollingScores
from vseg_nas.runs.digests import digest_of
from vseg_nas.schema import EvaluateConfig
from vseg_nas.training.device import open_device


@dataclass(frozen=True)
class _Baseline:
    """A way to label video by a static network alone.

    Attributes:
        name: The name in tables.
        propagation: Makes the propagation of the video network.
        keyed: Whether it matters which frames are key frames.
    """

    name: str
    propagation: Callable[[], nn.Module]
    keyed: bool


_BASELINES = (
    _Baseline(STATIC, EachFrame, keyed=False),
    _Baseline(COPIED, CopyPrevious, keyed=True),
    _Baseline(WARPED, WarpPrevious, keyed=True),
    _Baseline(AVERAGED, AverageOverTime, keyed=False),
    _Baseline(AVERAGED_BY_FLOW, lambda: AverageOverTime(flow=True), keyed=False),
)


@dataclass(frozen=True)
class VideoMethod:
    """Something that labels video.

    Attributes:
        group: The name in tables; trainings that differ in their seed alone share it.
        weights: The file of the network.
        load: Reads the network, ready for evaluation.
        spec: The specification of the checkpoint; None for the pre-trained static network.
        has_cell: Whether a cell labels the frames that are no key frames.
        keyed: Whether it matters which frames are key frames.
    """

    group: str
    weights: Path
    load: Callable[[], VideoSegmenter]
    spec: SegmenterSpec | None = None
    has_cell: bool = False
    keyed: bool = True

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the weights and the name."""
        return digest_of(self.weights.read_bytes(), self.group)


class MeasuredMethod(NamedTuple):
    """A method and what was measured of it."""

    method: VideoMethod
    result: MeasuredRow


class SplitEvaluator:
    """Scores methods on one split. All checkpoints are read and checked before anything is computed.

    Args:
        config: The configuration of `evaluate`.

    Raises:
        ConfigError: The checkpoints were trained for frames of different sizes, and none is configured.
        DataError: The data set or a checkpoint cannot be used, or they do not belong together.
    """

    def __init__(self, config: EvaluateConfig) -> None:
        self._config = config
        self.device = open_device(config.gpu).tensors
        self.pairs: ClipSource = self._source(PAIR)
        require_labels(self.pairs, config.split)
        specs = {path: self._checked(path) for path in map(Path, config.checkpoint)}
        self.methods = self._methods(specs)
        self.size = config.size or _size(specs)
        if self.size is not None:
            check_frame_memory("size", self.size, cuda=self.device.type == "cuda")
        self._transform = resized(self.size)
        self._split, self.rolling_skip_reason = self._open_split()
        self._flows = FlowStore()

    def _source(self, length: int) -> ClipSource:
        return build_source(self._config.dataset, self._config.runs_dir, self._config.split, length)

    def _checked(self, path: Path) -> SegmenterSpec:
        _, spec = load_segmenter(path)
        if spec.classes != self.pairs.classes:
            raise DataError(
                f"{path}: trained for {len(spec.classes)} classes ({spec.classes[0]}, ...), "
                f"expected the {len(self.pairs.classes)} of {self._config.dataset.name}"
            )
        if (spec.mean, spec.std) != (IMAGENET_MEAN, IMAGENET_STD):
            raise DataError(f"{path}: found mean {spec.mean} and std {spec.std}, expected those of ImageNet")
        return spec

    def _methods(self, specs: dict[Path, SegmenterSpec]) -> list[VideoMethod]:
        """Returns the static network as it was pre-trained, then as it was trained on, then the cells."""
        trained = [(path, spec) for path, spec in specs.items() if spec.genotype is None]
        found, baselines = [], _BASELINES if self._config.baselines else _BASELINES[:1]
        if self._config.baselines:
            self._pretrained()
            weights = Path(self._config.static.weights)
            found += [_of_static(baseline, weights, self._pretrained) for baseline in baselines]
        found += [
            _of_static(baseline, path, lambda path=path: load_segmenter(path)[0].static, spec)  # type: ignore[misc]
            for baseline in baselines
            for path, spec in trained
        ]
        found += [
            VideoMethod(spec.group, path, lambda path=path: load_segmenter(path)[0], spec, has_cell=True)  # type: ignore[misc]
            for path, spec in specs.items()
            if spec.genotype
        ]
        return found

    def _pretrained(self) -> StaticSegmenter:
        return load_static_for(Path(self._config.static.weights), self.pairs.classes, self._config.dataset.name)

    def _open_split(self) -> tuple[SplitSequences | None, str | None]:
        """Returns the sequences to roll over and None, or None and the reason why there are none."""
        length = SNIPPET if isinstance(self._config.dataset, CityScapesSettings) else 1
        try:
            split = sequences_of(self._source(length))
        except DataError as error:
            if length == 1:
                raise
            return None, f"the {SNIPPET} frames up to each annotated one are needed ({error})"
        return (None, split.skip_reason) if split.skip_reason else (split, None)

    def key(self, method: VideoMethod) -> str:
        """Returns the key of a row: rows of equal keys are equal, since their weights, frames and masks are."""
        content = f"{EvaluationResult.format_name()} {method.digest} {self._data_digest}"
        return digest_of(content)[:16]

    @property
    def sources(self) -> list[ClipSource]:
        """The clips that are scored: pairs, and full sequences if any are rolled over."""
        return [self.pairs, *([self._split.sequences[0].source] if self._split else [])]

    @cached_property
    def _data_digest(self) -> str:
        return " ".join([*(source.fingerprint() for source in self.sources), str(self.rolling_skip_reason)])

    def ticks(self, method: VideoMethod) -> int:
        """Returns the number of ticks of `measure`."""
        ticks, split = len(self.pairs), self._split
        if split is None:
            return ticks
        whole = sum(map(len, split.sequences))
        if not method.keyed:
            return ticks + whole
        rolled = sum(len(sequence) for key_every in KEY_EVERY for sequence in split.to_score(key_every))
        return ticks + rolled + whole * split.only_last_labelled

    def measure(self, method: VideoMethod, tick: Tick) -> MeasuredRow:
        """Measures everything of one method."""
        segmenter = method.load().to(self.device)
        pair = score_pairs(segmenter, self.pairs, self._transform, self.device, tick)
        propagation, spec = segmenter.propagation, method.spec
        cell = propagation.cell if isinstance(propagation, CellPropagation) else nn.Identity()
        every, later = frame_macs(segmenter, self.frame_size)
        rolling, consistency = self._rolled(segmenter, method.keyed, tick)
        row = EvaluationRow(
            name=method.group if spec is None else method.weights.parent.name,
            group=method.group,
            seed=None if spec is None else spec.seed,
            recipe=None if spec is None else spec.recipe,
            trained_with=None if spec is None else " ".join(map(str, spec.method)),
            checkpoint=None if spec is None else str(method.weights.resolve()),
            genotype=spec.genotype if spec else None,
            expression=spec.expression if spec else "",
            past=spec.past if spec else None,
            flow=spec.flow if spec and spec.genotype else None,
            parameters=count_parameters(segmenter),
            cell_parameters=count_parameters(cell),
            macs=every if later is None else later,
            pair=pair.scores,
            rolling=rolling,
            consistency=consistency,
        )
        confusion = tuple(map(tuple, pair.confusion.tolist()))
        return MeasuredRow(row=row, confusion=confusion, miou_per_frame=pair.miou_per_frame)

    @cached_property
    def frame_size(self) -> tuple[int, int]:
        """Height and width in pixels of the frames that are labelled."""
        height, width = self.size or self.pairs[0].masks[0].shape
        return height, width

    def _rolled(
        self, segmenter: VideoSegmenter, keyed: bool, tick: Tick
    ) -> tuple[dict[str, RollingScores], dict[str, AnyConsistency]]:
        """Scores of full sequences by `rolling_key`, and temporal consistency by name."""
        split = self._split
        if split is None:
            return {}, {}
        meter = ConsistencyMeter(split, self._flows)
        once = CONSISTENCY_KEY_EVERY if keyed else None
        whole = (
            roll(segmenter, split.sequences, self._transform, once, self.device, tick, meter)
            if not keyed or split.only_last_labelled
            else []
        )
        rolling = {}
        for key_every in KEY_EVERY:
            sequences = split.to_score(key_every)
            if not keyed:
                found = roll_from_counts(whole, sequences)
            else:
                measured = meter if key_every == CONSISTENCY_KEY_EVERY and not split.only_last_labelled else None
                found = roll(segmenter, sequences, self._transform, key_every, self.device, tick, measured)
            rolling[rolling_key(key_every)] = rolling_scores(found, key_every)
        return rolling, meter.result()

    def truth_consistency(self, tick: Tick) -> dict[str, AnyConsistency]:
        """Returns the temporal consistency of the ground truth itself, by name; empty without labelled sequences.

        Args:
            tick: Called after each of `truth_ticks` frames.
        """
        split = self._split
        if split is None or split.only_last_labelled:
            return {}
        meter = ConsistencyMeter(split, self._flows)
        roll_truth(split.sequences, self._transform, meter, tick)
        return meter.result()

    @property
    def truth_ticks(self) -> int:
        """The number of ticks of `truth_consistency`."""
        split = self._split
        return 0 if split is None or split.only_last_labelled else sum(map(len, split.sequences))

    def panel_rows(self, static: MeasuredMethod, ours: MeasuredMethod, picked: Sequence[int]) -> list[PanelRow]:
        """Returns what pictures of the second frames of some pairs show."""
        networks = [network.method.load().to(self.device) for network in (static, ours)]
        rows = []
        for index in picked:
            raw = self.pairs[index]
            clip = self._transform(raw)
            before, after = (label_pair(network, clip, self.device).cpu().byte().numpy() for network in networks)
            scores = [network.result.miou_per_frame[index] or 0.0 for network in (static, ours)]
            rows.append(PanelRow(raw.names[1], raw.frames[1], before, after, raw.masks[1], scores[0], scores[1]))
        return rows


def _size(specs: dict[Path, SegmenterSpec]) -> tuple[int, int] | None:
    """Returns the size of frames that all checkpoints were trained for; None is that of the data set."""
    sizes = {spec.size for spec in specs.values()}
    if len(sizes) > 1:
        found = " and ".join(sorted("data set's" if size is None else f"{size[0]}x{size[1]}" for size in sizes))
        raise ConfigError(f"size: not set, and the checkpoints were trained for frames of {found}; set size=[H,W]")
    return sizes.pop()


def _of_static(
    baseline: _Baseline, path: Path, static: Callable[[], StaticSegmenter], spec: SegmenterSpec | None = None
) -> VideoMethod:
    """Returns a baseline of a static network, as it was pre-trained or as a training of it left it."""

    def load() -> VideoSegmenter:
        return VideoSegmenter(static(), baseline.propagation()).eval()

    group = baseline.name if spec is None else f"{baseline.name}, {spec.name}"
    return VideoMethod(group, path, load, spec, keyed=baseline.keyed)
