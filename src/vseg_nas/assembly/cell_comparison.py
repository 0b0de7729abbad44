"""The best cell of a search against simpler things, on meta-val and on the validation split."""

import random
from collections.abc import Iterable, Iterator
from pathlib import Path

import torch

from vseg_nas.assembly.candidate_executors import build_evaluator
from vseg_nas.assembly.data_sources import PAIR, build_source
from vseg_nas.assembly.meta_features import MetaData
from vseg_nas.assembly.search_plan import build_space
from vseg_nas.data import Clip, resized
from vseg_nas.metrics import ConfusionMatrix
from vseg_nas.models.complexity import count_parameters
from vseg_nas.models.layers import label_map
from vseg_nas.models.settings import Past
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.nas.candidate import VAL_BATCH, train_cell
from vseg_nas.nas.pruners import NoPruner
from vseg_nas.nas.seeds import derive_seed
from vseg_nas.results.comparison import RANDOM_CELL, ComparisonRow
from vseg_nas.results.scores import SegmentationScores
from vseg_nas.schema import CompareConfig, SearchConfig
from vseg_nas.space import Genotype
from vseg_nas.training.device import Device
from vseg_nas.training.features import FeatureBatches, TrackClips, cached_features, transformed


class Comparison:
    """Trains cells again, with the budget and data of a search, and scores them and the static network.

    Args:
        search: The configuration of the search.
        compare: The configuration of `compare`.
        device: The device to compute on, and its precision.
        data: The data of the search.
        run_dir: The directory of the search.
        track: Shows the progress of caching features.
    """

    def __init__(
        self,
        search: SearchConfig,
        compare: CompareConfig,
        device: Device,
        data: MetaData,
        run_dir: Path,
        track: TrackClips,
    ) -> None:
        self._search = search
        self._compare = compare
        self._device = device
        self._data = data
        self._run_dir = run_dir
        self._pairs = build_source(search.dataset, search.runs_dir, "val", PAIR)
        self._transform = resized(search.phase.search.val_size)
        self._val = cached_features(
            Path(search.runs_dir) / "cache",
            data.network,
            self._pairs,
            tuple(range(len(self._pairs))),
            self._transform,
            device.cache_precision,
            device.tensors,
            track,
        )

    def rows(self, best: Genotype) -> Iterator[ComparisonRow]:
        """Yields a row as soon as it is measured: two baselines, then every training of every cell."""
        yield from self._static_rows()
        yield from self._repeated("best cell", best, past="previous")
        yield from self._repeated("best cell, previous frame's inputs zero", best, past="zero")
        yield from self._random_rows()

    def _static_rows(self) -> Iterator[ComparisonRow]:
        device, clips = self._device.tensors, transformed(*self._data.val)
        pairs = (self._transform(self._pairs[i]) for i in range(len(self._pairs)))
        meta_val, copied_meta_val = _score_static(self._data.network, clips, device)
        val, copied_val = _score_static(self._data.network, pairs, device)
        yield _static_row("static network per frame", meta_val, val)
        yield _static_row("static network, previous prediction copied", copied_meta_val, copied_val)

    def _repeated(self, name: str, genotype: Genotype, past: Past) -> Iterator[ComparisonRow]:
        for repeat in range(self._compare.repeats):
            yield self._train(name, genotype, derive_seed(self._compare.seed, "repeat", repeat), past)

    def _random_rows(self) -> Iterator[ComparisonRow]:
        space = build_space(self._search)
        rng = random.Random(derive_seed(self._compare.seed, "random cells"))
        for index in range(self._compare.random_cells):
            seed = derive_seed(self._compare.seed, "random", index)
            yield self._train(RANDOM_CELL, space.sample(rng), seed, past="previous")

    def _train(self, name: str, genotype: Genotype, seed: int, past: Past) -> ComparisonRow:
        features = self._data.features
        evaluator = build_evaluator(
            features,
            self._search.phase.search,
            self._device,
            NoPruner(),
            self._run_dir,
            self._search.reward,
            past,
        )
        module = evaluator.build(genotype, seed)
        meta_val, _ = train_cell(
            module,
            features.train,
            features.val,
            derive_seed(seed, "order"),
            lambda scores: scores.whole.score,
            NoPruner(),
            lambda epoch, epochs, score: None,
            self._run_dir,
            **evaluator.trainer_options,
        )
        val = module.to(self._device.tensors).score(FeatureBatches(self._val, VAL_BATCH))
        return ComparisonRow(
            name=name,
            seed=seed,
            genotype=genotype,
            expression=genotype.expression(),
            past=past,
            flow=False,
            parameters=count_parameters(module.cell),
            meta_val=meta_val.whole,
            val=val.whole,
        )


def _static_row(name: str, meta_val: SegmentationScores, val: SegmentationScores) -> ComparisonRow:
    return ComparisonRow(
        name=name,
        seed=None,
        genotype=None,
        expression="",
        past=None,
        flow=None,
        parameters=0,
        meta_val=meta_val,
        val=val,
    )


@torch.inference_mode()
def _score_static(
    network: StaticSegmenter, clips: Iterable[Clip], device: torch.device
) -> tuple[SegmentationScores, SegmentationScores]:
    """Scores the two baselines of a cell on the frames after the first of every clip, at the size of their masks.

    Args:
        network: The frozen static network.
        clips: Clips of at least two frames.
        device: The device to compute on.

    Returns:
        The scores of the static network on each frame, and those of its labels copied from the previous frame.
    """
    network = network.to(device)
    per_frame, copied = (ConfusionMatrix(len(network.classes)) for _ in range(2))
    for clip in clips:
        masks = clip.masks.to(device)
        logits = network(clip.frames.to(device)).pred
        frame = clip.frames.shape[-2], clip.frames.shape[-1]
        labels = label_map(logits, frame, (masks.shape[-2], masks.shape[-1]))
        per_frame.update(labels[1:], masks[1:])
        copied.update(labels[:-1], masks[1:])
    return per_frame.scores(), copied.scores()
