"""The rows of an evaluation: trained networks, and what they have to beat, under both protocols."""

import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import nn

from vseg_nas.assembly.static import build_source, device_of, load_static, trainer_options
from vseg_nas.data import ClipSource, resized
from vseg_nas.errors import DataError
from vseg_nas.evaluation.protocols import (
    PairScores,
    RollingScores,
    Tick,
    label_pair,
    rolling_refusal,
    score_pairs,
    score_runs,
)
from vseg_nas.metrics import SegmentationScores
from vseg_nas.models.complexity import count_parameters
from vseg_nas.models.propagation import CellPropagation, CopyPrevious, WarpPrevious
from vseg_nas.models.segmenter_file import SegmenterSpec, load_segmenter
from vseg_nas.models.video import VideoSegmenter
from vseg_nas.reporting.methods import STATIC
from vseg_nas.reporting.panel import PanelRow
from vseg_nas.schema import EvaluateConfig

KEY_EVERY: tuple[int | None, ...] = (1, 2, 5, None)
CONSISTENCY_KEY = 5
"""The K whose labels temporal consistency is measured on: key frames now and then, as in use."""

_PAIR = 2


@dataclass(frozen=True)
class Method:
    """Something that labels video.

    Attributes:
        name: for tables; trainings that differ in their seed alone share it.
        segmenter: ready for evaluation.
        checkpoint: where it came from; None for baselines without training.
        spec: of the checkpoint.
    """

    name: str
    segmenter: VideoSegmenter
    checkpoint: Path | None = None
    spec: SegmenterSpec | None = None

    @property
    def key(self) -> str:
        """Tells methods of one evaluation apart."""
        return self.name if self.checkpoint is None else str(self.checkpoint)


@dataclass(frozen=True)
class FrameScores:
    """mIoU of one frame alone, by the static network and by a method."""

    index: int
    static: float
    ours: float


class Evaluation:
    """Scores methods on one split.

    Args:
        config: of the command.

    Raises:
        DataError: the data set or a checkpoint cannot be used, or they do not belong together.
    """

    def __init__(self, config: EvaluateConfig) -> None:
        trainer_options(config.gpu)
        self._config = config
        self.device = device_of(config.gpu)
        self.pairs: ClipSource = build_source(config.dataset, config.split, _PAIR)
        self._frames = build_source(config.dataset, config.split, 1)
        self._rolls = rolling_refusal(self._frames) is None
        self._transform = resized(None if config.size is None else (config.size[0], config.size[1]))
        self._pairs: dict[str, PairScores] = {}

    @property
    def clips_per_method(self) -> int:
        """How often `row` ticks."""
        return len(self.pairs) + len(KEY_EVERY) * len(self._frames) * self._rolls

    def methods(self) -> Iterator[Method]:
        """Baselines of the static network first, then every checkpoint, one at a time in memory."""
        if self._config.baselines:
            static = load_static(self._config, self.pairs.classes).to(self.device)
            yield Method(STATIC, VideoSegmenter(static, CopyPrevious(), key_every=1).eval())
            yield Method("previous labels copied", VideoSegmenter(static, CopyPrevious()).eval())
            yield Method("previous labels warped by flow", VideoSegmenter(static, WarpPrevious()).eval())
        for path in map(Path, self._config.checkpoint):
            segmenter, spec = load_segmenter(path)
            if spec.classes != self.pairs.classes:
                raise DataError(
                    f"{path}: trained for {len(spec.classes)} classes ({spec.classes[0]}, ...), "
                    f"expected the {len(self.pairs.classes)} of {self._config.dataset.name}"
                )
            yield Method(spec.group, segmenter.to(self.device), path, spec)

    def row(self, method: Method, tick: Tick) -> dict[str, Any]:
        """Everything measured of one method, as plain data for JSON."""
        pair = score_pairs(method.segmenter, self.pairs, self._transform, self.device, tick)
        self._pairs[method.key] = pair
        rolling = {key or "never": self._roll(method, key, tick) for key in KEY_EVERY} if self._rolls else {}
        propagation, spec = method.segmenter.propagation, method.spec
        cell = propagation.cell if isinstance(propagation, CellPropagation) else nn.Identity()
        return {
            "name": method.name if method.checkpoint is None else method.checkpoint.parent.name,
            "group": method.name,
            "seed": None if spec is None else spec.seed,
            "checkpoint": None if method.checkpoint is None else str(method.checkpoint),
            "genotype": None if spec is None else spec.genotype.to_dict(),
            "expression": "" if spec is None else spec.genotype.expression(),
            "past": None if spec is None else spec.past,
            "parameters": count_parameters(method.segmenter),
            "cell_parameters": count_parameters(cell),
            "pair": _plain_scores(pair.scores),
            "rolling": {str(key): _plain_rolling(scores) for key, scores in rolling.items()},
            "consistency": {
                name: {"refused": c.refused} if c.refused else {k: v for k, v in asdict(c).items() if k != "refused"}
                for name, c in (rolling[CONSISTENCY_KEY].consistency.items() if rolling else ())
            },
        }

    def frames(self, static: Method, ours: Method) -> list[FrameScores]:
        """The labelled second frames of pairs; both methods have to be scored before."""
        scores = zip(*(self._pairs[method.key].miou_per_frame for method in (static, ours)), strict=True)
        return [FrameScores(index, *both) for index, both in enumerate(scores) if not math.isnan(both[0])]

    def confusion(self, method: Method) -> NDArray[np.int64]:
        """(K, K) pixels of pairs, rows are truth, columns are labels; the method has to be scored before."""
        return self._pairs[method.key].confusion.numpy()

    def panel_row(self, static: Method, ours: Method, frame: FrameScores) -> PanelRow:
        """What a picture of the second frame of a pair shows."""
        raw = self.pairs[frame.index]
        clip = self._transform(raw)
        before, after = (
            label_pair(method.segmenter, clip, self.device).cpu().byte().numpy() for method in (static, ours)
        )
        return PanelRow(raw.names[1], raw.frames[1], before, after, raw.masks[1], frame.static, frame.ours)

    def _roll(self, method: Method, key_every: int | None, tick: Tick) -> RollingScores:
        steady = key_every == CONSISTENCY_KEY
        return score_runs(method.segmenter, self._frames, self._transform, key_every, self.device, tick, steady)


def _plain_scores(scores: SegmentationScores) -> dict[str, Any]:
    plain = asdict(scores)
    return plain | {"iou_per_class": [None if math.isnan(iou) else iou for iou in scores.iou_per_class]}


def _plain_rolling(rolling: RollingScores) -> dict[str, Any]:
    return {
        **_plain_scores(rolling.scores),
        "by_distance": [asdict(entry) for entry in rolling.by_distance],
        "average": rolling.average,
        "minimum": rolling.minimum,
    }
