"""The real evaluator: a short Lightning fit of a cell on cached features, scored on meta-val (section 4.1)."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import nn

from vseg_nas.clock import working_s
from vseg_nas.data.feature_cache import StaticFeatures
from vseg_nas.metrics.clip_scores import ClipScores
from vseg_nas.models.cell import DynamicCell
from vseg_nas.models.complexity import count_macs, count_parameters
from vseg_nas.models.settings import Past
from vseg_nas.nas.frame_cost import frame_cost
from vseg_nas.nas.pruners import Pruner, is_halfway
from vseg_nas.nas.rewards import reward_of, score_of
from vseg_nas.nas.seeds import derive_seed
from vseg_nas.nas.settings import RewardSettings
from vseg_nas.nas.trial import Evaluation, Progress
from vseg_nas.space import Genotype
from vseg_nas.training.cell_module import CellModule
from vseg_nas.training.features import FeatureBatches
from vseg_nas.training.fitting import fit, quiet_trainer
from vseg_nas.training.settings import CellTraining

VAL_BATCH = 8
"""Number of clips that are scored at a time; it changes no score."""


class _HalfwayAndEnd(Callback):
    """Scores the cell after half of the epochs, where the pruner may end the fit, and after the last."""

    def __init__(
        self, val: FeatureBatches, reward: Callable[[ClipScores], float], pruner: Pruner, progress: Progress
    ) -> None:
        self.val = val
        self.reward = reward
        self.pruner = pruner
        self.progress = progress
        self.scores: ClipScores | None = None

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        assert isinstance(pl_module, CellModule)
        epoch, epochs = trainer.current_epoch + 1, pl_module.options.epochs
        measured = is_halfway(epoch, epochs) or epoch == epochs
        if measured:
            self.scores = pl_module.score(self.val)
            if epoch < epochs and self.pruner.should_prune(self.reward(self.scores)):
                trainer.should_stop = True
        self.progress(epoch, epochs, self.reward(self.scores) if measured and self.scores else None)


def train_cell(
    module: CellModule,
    train: StaticFeatures,
    val: StaticFeatures,
    seed: int,
    reward: Callable[[ClipScores], float],
    pruner: Pruner,
    progress: Progress,
    root_dir: Path,
    **trainer_options: Any,
) -> tuple[ClipScores, int]:
    """Fits a cell.

    Args:
        module: Module of the cell, which is trained in place.
        train: Cached features of the clips to train on.
        val: Cached features of the clips to score on.
        seed: Seed of the order of clips.
        reward: Turns scores into what the pruner judges.
        pruner: Pruner that is asked half-way.
        progress: Called after every epoch.
        root_dir: Folder that Lightning takes for its own; nothing is written there.
        **trainer_options: Accelerator, devices and precision of the Trainer.

    Returns:
        The last scores on ``val`` and the number of epochs trained.
    """
    options = module.options
    batches = FeatureBatches(train, options.batch_size, torch.Generator().manual_seed(seed))
    watch = _HalfwayAndEnd(FeatureBatches(val, VAL_BATCH), reward, pruner, progress)
    trainer = quiet_trainer(
        root_dir,
        options.epochs,
        [watch],
        gradient_clip_val=options.gradient_clip,
        enable_checkpointing=False,
        **trainer_options,
    )
    fit(trainer, module, train_dataloaders=batches)
    assert watch.scores is not None
    return watch.scores, trainer.current_epoch


class CandidateEvaluator:
    """Builds, trains and scores cells; an `Evaluator`.

    Args:
        train: Cached features of meta-train.
        val: Cached features of meta-val.
        classifier: Classifier of the static network.
        training: Settings of the training.
        pruner: Pruner that is asked half-way.
        root_dir: Folder that Lightning takes for its own; nothing is written there.
        reward: Settings of score, cost and reward.
        past: The frame that a cell reads as the previous one, as in `CellModule`.
        **trainer_options: Accelerator, devices and precision of the Trainer.
    """

    def __init__(
        self,
        train: StaticFeatures,
        val: StaticFeatures,
        classifier: nn.Conv2d,
        training: CellTraining,
        pruner: Pruner,
        root_dir: Path,
        reward: RewardSettings,
        past: Past = "previous",
        **trainer_options: Any,
    ) -> None:
        self.train = train
        self.val = val
        self.classifier = classifier
        self.training = training
        self.pruner = pruner
        self.root_dir = root_dir
        self.reward = reward
        self.past = past
        self.trainer_options = trainer_options

    def evaluate(self, genotype: Genotype, seed: int, progress: Progress) -> Evaluation:
        """Trains one cell; a function of the genotype, the seed and the state of the pruner.

        Raises:
            NonFiniteError: At the first NaN or infinite loss or logit.
        """
        started = working_s()
        module, settings = self.build(genotype, seed), self.reward
        cost = self._cost(module)
        scores, epochs = train_cell(
            module,
            self.train,
            self.val,
            derive_seed(seed, "order"),
            lambda scores: reward_of(settings.cost, score_of(settings, scores), cost),
            self.pruner,
            progress,
            self.root_dir,
            **self.trainer_options,
        )
        score = score_of(settings, scores)
        return Evaluation(
            score,
            scores.whole.miou,
            scores.whole.fwiou,
            scores.whole.macc,
            count_parameters(module.cell),
            self._macs(module.cell),
            working_s() - started,
            epochs,
            stopped=epochs < self.training.epochs,
            steadiness=scores.steadiness,
            cost=cost,
            penalised=None if settings.cost.budget is None else reward_of(settings.cost, score, cost),
        )

    def build(self, genotype: Genotype, seed: int) -> CellModule:
        """Returns a cell with initial weights drawn from ``seed``; the global generator is left as it was."""
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            cell = DynamicCell(genotype)
        damage_seed = derive_seed(seed, "damage")
        return CellModule(cell, self.classifier, self.training, self.past, self.reward.reference, damage_seed)

    def _cost(self, module: CellModule) -> float | None:
        cost = self.reward.cost
        if cost.size is None:
            return None
        assert isinstance(module.cell, DynamicCell)
        device = self.train.layer2.device
        return frame_cost(module.cell, module.classifier, cost.size, self.reward.key_every, cost.repeats, device)

    def _macs(self, cell: nn.Module) -> int:
        """Returns the multiply-accumulate operations of the cell for one frame of meta-val."""
        v = self.val
        arrays = [v.key_layer4[:1], v.key_dec[:1], v.layer2[:1, 0], v.layer3[:1, 0], v.layer4[:1, 0], v.key_layer2[:1]]
        distance = (1, 1, 1, 1)
        return count_macs(cell, *(tuple(array.shape) for array in arrays), distance)
