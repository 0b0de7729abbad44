"""The best cell of a search against simpler things, on meta-val and on the validation split."""

import random
from collections.abc import Iterator
from pathlib import Path

from vseg_nas.assembly.search import MetaData, build_evaluator, build_space, cell_training, val_transform
from vseg_nas.assembly.static import build_sources, device_of
from vseg_nas.data import ClipSource
from vseg_nas.data.feature_cache import StaticFeatures
from vseg_nas.models.complexity import count_parameters
from vseg_nas.nas.candidate import train_cell
from vseg_nas.nas.pruners import NoPruner
from vseg_nas.nas.trial import derive_seed
from vseg_nas.results.comparison import RANDOM_CELL, ComparisonRow
from vseg_nas.results.scores import SegmentationScores
from vseg_nas.schema import CompareConfig, SearchConfig
from vseg_nas.space import Genotype
from vseg_nas.training.baselines import score_static
from vseg_nas.training.features import FeatureBatches, Track, cached_features

_PAIR = 2
_VAL_BATCH = 8


class Comparison:
    """Trains cells anew, with the budget and data of a search, and scores them and the static network.

    Args:
        search: configuration of the search.
        compare: what to train.
        data: of the search.
        run_dir: of the search.
        track: shows progress of caching.
    """

    def __init__(
        self, search: SearchConfig, compare: CompareConfig, data: MetaData, run_dir: Path, track: Track
    ) -> None:
        self._search = search
        self._compare = compare
        self._data = data
        self._run_dir = run_dir
        self._pairs = build_sources(search, length=_PAIR).val
        self._val = self._cache_pairs(track)

    def rows(self, best: Genotype) -> Iterator[ComparisonRow]:
        """Yields a row as soon as it is measured: two baselines, then every training of every cell."""
        yield from self._static_rows()
        yield from self._repeated("best cell", best, sees_previous=True)
        yield from self._repeated("best cell, previous frame's inputs zero", best, sees_previous=False)
        yield from self._random_rows()

    def _static_rows(self) -> Iterator[ComparisonRow]:
        device = device_of(self._search.gpu)
        transform = val_transform(self._search.phase.search)
        source = self._data.sources.train
        meta_val = score_static(self._data.network, (transform(source[i]) for i in self._data.split.val), device)
        val = score_static(self._data.network, (transform(self._pairs[i]) for i in range(len(self._pairs))), device)
        yield _static_row("static network per frame", meta_val.per_frame, val.per_frame)
        yield _static_row("static network, previous prediction copied", meta_val.copied, val.copied)

    def _repeated(self, name: str, genotype: Genotype, sees_previous: bool) -> Iterator[ComparisonRow]:
        for repeat in range(self._compare.repeats):
            yield self._train(name, genotype, derive_seed(self._compare.seed, "repeat", repeat), sees_previous)

    def _random_rows(self) -> Iterator[ComparisonRow]:
        space = build_space(self._search)
        rng = random.Random(derive_seed(self._compare.seed, "random cells"))
        for index in range(self._compare.random_cells):
            seed = derive_seed(self._compare.seed, "random", index)
            yield self._train(RANDOM_CELL, space.sample(rng), seed, sees_previous=True)

    def _train(self, name: str, genotype: Genotype, seed: int, sees_previous: bool) -> ComparisonRow:
        config, features = self._search, self._data.features
        training = cell_training(config)
        evaluator = build_evaluator(features, training, config.gpu, NoPruner(), self._run_dir, sees_previous)
        module = evaluator.build(genotype, seed)
        meta_val, _ = train_cell(
            module,
            features.train,
            features.val,
            derive_seed(seed, "order"),
            NoPruner(),
            lambda epoch, epochs, score: None,
            self._run_dir,
            **evaluator.trainer_options,
        )
        val = module.to(device_of(self._search.gpu)).score(FeatureBatches(self._val, _VAL_BATCH))
        return ComparisonRow(
            name=name,
            seed=seed,
            genotype=genotype,
            expression=genotype.expression(),
            past="previous" if sees_previous else "zero",
            flow=False,
            parameters=count_parameters(module.cell),
            meta_val=meta_val,
            val=val,
        )

    def _cache_pairs(self, track: Track) -> StaticFeatures:
        source: ClipSource = self._pairs
        transform = val_transform(self._search.phase.search)
        root = Path(self._search.runs_dir) / "cache"
        precision, device = self._search.gpu.cache_precision, device_of(self._search.gpu)
        return cached_features(
            root, self._data.network, source, tuple(range(len(source))), transform, precision, device, track
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
