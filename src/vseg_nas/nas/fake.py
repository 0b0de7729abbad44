"""An evaluator without training, for tests and benchmarks of the search."""

import random

from vseg_nas.nas.pruners import NoPruner, Pruner, is_halfway
from vseg_nas.nas.trial import Evaluation, Progress
from vseg_nas.space import Genotype


class FakeEvaluator:
    """Scores a cell by the share of its tokens that equal those of a target, plus seeded noise.

    After epoch e of E the cell scores e / E of that, so that pruners have something to look at.

    Args:
        target: The best cell, which scores 1 without noise.
        pruner: Pruner that is asked half-way; with None no cell is pruned.
        noise: Standard deviation of the noise of a score.
        epochs: Number of epochs to report.
    """

    def __init__(self, target: Genotype, pruner: Pruner | None = None, *, noise: float = 0.01, epochs: int = 4) -> None:
        self._target = target.tokens
        self._pruner = pruner or NoPruner()
        self._noise = noise
        self._epochs = epochs

    def evaluate(self, genotype: Genotype, seed: int, progress: Progress) -> Evaluation:
        """See `Evaluator`."""
        same = sum(map(int.__eq__, genotype.tokens, self._target))
        final = same / len(self._target) + random.Random(seed).gauss(0, self._noise)
        for epoch in range(1, self._epochs + 1):
            score = final * epoch / self._epochs
            progress(epoch, self._epochs, score)
            if is_halfway(epoch, self._epochs) and self._pruner.should_prune(score):
                break
        return Evaluation(
            score=score,
            miou=score,
            fwiou=score,
            macc=score,
            parameters=1000 * len(genotype.layers),
            macs=1_000_000 * len(genotype.layers),
            seconds=0.0,
            epochs=epoch,
            stopped=epoch < self._epochs,
        )
