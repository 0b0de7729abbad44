"""An evaluation is a function of the genotype, the seed and the pruner."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from vseg_nas.errors import NonFiniteError
from vseg_nas.models.cell import DynamicCell
from vseg_nas.nas.candidate import CandidateEvaluator
from vseg_nas.nas.executors.serial import SerialExecutor
from vseg_nas.nas.loop import SearchLoop
from vseg_nas.nas.pruners import NoPruner, Pruner
from vseg_nas.nas.settings import Budget, GeometricMeanSettings
from vseg_nas.nas.store import TrialStore
from vseg_nas.nas.strategies.base import build_strategy
from vseg_nas.nas.strategies.settings import PPOSettings
from vseg_nas.nas.trial import Evaluation, TrialState
from vseg_nas.space import SearchSpace
from vseg_nas.training.cell_module import CellModule
from vseg_nas.training.settings import CellTraining, Schedule

SPACE = SearchSpace(2, 8)
GENOTYPE = SPACE.genotype([0, 1, 0, 5, 0, 2, 5, 3, 0, 4])
CLASSES = 4


class Verdict(NoPruner):
    """Says the same of every cell and remembers what it was shown."""

    def __init__(self, keep: bool) -> None:
        self.keep = keep
        self.shown: list[float] = []

    def should_prune(self, score: float) -> bool:
        self.shown.append(score)
        return not self.keep


class Epochs(list[tuple[int, int, float | None]]):
    def __call__(self, epoch: int, epochs: int, score: float | None) -> None:
        self.append((epoch, epochs, score))


@pytest.fixture
def evaluator(make_features: Any, tmp_path: Path) -> Any:
    def build(pruner: Pruner | None = None, epochs: int = 4, **features: Any) -> CandidateEvaluator:
        torch.manual_seed(0)
        return CandidateEvaluator(
            make_features(clips=5, classes=CLASSES, **features),
            make_features(clips=2, classes=CLASSES, seed=1),
            nn.Conv2d(64, CLASSES, 3, padding=1),
            CellTraining(epochs=epochs, batch_size=2),
            pruner or NoPruner(),
            tmp_path,
            GeometricMeanSettings(),
            accelerator="cpu",
        )

    return build


def untimed(evaluation: Evaluation) -> Evaluation:
    return dataclasses.replace(evaluation, seconds=0.0)


def test_genotype_and_seed_decide(evaluator: Any, tmp_path: Path) -> None:
    results = []
    for seed, seed_of_others in ((7, 1), (7, 2), (8, 1)):
        candidates = evaluator()
        torch.manual_seed(seed_of_others)
        state = torch.get_rng_state()
        results.append(untimed(candidates.evaluate(GENOTYPE, seed, Epochs())))
        assert torch.equal(torch.get_rng_state(), state)
    assert results[0] == results[1]
    assert results[0].score != results[2].score
    candidates = evaluator()  # what was evaluated before makes no difference
    candidates.evaluate(SPACE.genotype([1] * 5 + [0] * 5), 3, Epochs())
    assert untimed(candidates.evaluate(GENOTYPE, 7, Epochs())) == results[0]
    assert list(tmp_path.iterdir()) == []


def test_evaluation_in_full(evaluator: Any) -> None:
    epochs, rule = Epochs(), Verdict(keep=True)
    found = evaluator(rule).evaluate(GENOTYPE, 0, epochs)
    assert [(epoch, total) for epoch, total, _ in epochs] == [(1, 4), (2, 4), (3, 4), (4, 4)]
    scores = [score for *_, score in epochs]
    assert scores == [None, rule.shown[0], None, found.score]
    assert rule.shown[0] != found.score
    assert found.score == pytest.approx((found.miou * found.fwiou * found.macc) ** (1 / 3))
    assert (found.epochs, found.stopped) == (4, False)
    assert found.parameters == sum(p.numel() for p in DynamicCell(GENOTYPE).parameters())
    assert found.macs > 0
    assert found.seconds > 0


def test_stopped_half_way(evaluator: Any) -> None:
    whole, epochs, rule = Epochs(), Epochs(), Verdict(keep=False)
    evaluator().evaluate(GENOTYPE, 0, whole)
    found = evaluator(rule).evaluate(GENOTYPE, 0, epochs)
    assert (found.epochs, found.stopped) == (2, True)
    assert rule.shown == [found.score]
    assert epochs == whole[:2]
    assert epochs[-1] == (2, 4, found.score)


@pytest.mark.parametrize("keep", [True, False])
@pytest.mark.parametrize("schedule", ["constant", "poly"])
def test_the_rate_falls_as_the_schedule_says(
    evaluator: Any, schedule: Schedule, keep: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    candidates, rates, step = evaluator(Verdict(keep), epochs=4), list[float](), CellModule.training_step

    def recorded(self: CellModule, *args: Any) -> Tensor:
        rates.append(self.trainer.optimizers[0].param_groups[0]["lr"])
        return step(self, *args)

    monkeypatch.setattr(CellModule, "training_step", recorded)
    candidates.training = candidates.training.model_copy(update={"schedule": schedule})
    candidates.evaluate(GENOTYPE, 0, Epochs())
    steps = 4 * -(-candidates.train.clips // 2)
    assert len(rates) == (steps if keep else steps // 2)  # of a fit given up half-way the schedule is the same
    power = 0.9 if schedule == "poly" else 0
    assert rates == pytest.approx([8e-3 * (1 - done / steps) ** power for done in range(len(rates))])
    assert rates[0] == 8e-3


@pytest.mark.parametrize(("epochs", "asked_after"), [(1, None), (2, 1), (3, 1)])
def test_few_epochs(evaluator: Any, epochs: int, asked_after: int | None) -> None:
    rule, seen = Verdict(keep=True), Epochs()
    assert evaluator(rule, epochs).evaluate(GENOTYPE, 0, seen).epochs == epochs
    assert len(rule.shown) == (asked_after is not None)
    assert [epoch for epoch, _, score in seen if score is not None] == ([asked_after] if asked_after else []) + [epochs]


def test_build_is_the_seed_s_own(evaluator: Any) -> None:
    candidates = evaluator()
    state = torch.get_rng_state()
    first, second, other = (candidates.build(GENOTYPE, seed) for seed in (5, 5, 6))
    assert torch.equal(torch.get_rng_state(), state)

    def equal(one: nn.Module, two: nn.Module) -> bool:
        return all(torch.equal(a, b) for a, b in zip(one.parameters(), two.parameters(), strict=True))

    assert equal(first, second)
    assert not equal(first, other)


def test_training_learns(evaluator: Any, make_features: Any) -> None:
    """Quarters of one class each, which channels of layer 2 tell: the cell finds out."""
    candidates = evaluator(epochs=16)
    for features in (candidates.train, candidates.val):
        quarters = torch.randint(CLASSES, (features.clips, 2, 2, 2))
        planes = quarters.repeat_interleave(3, 2).repeat_interleave(4, 3)
        features.layer2[:, :, :CLASSES] = 8 * nn.functional.one_hot(planes, CLASSES).movedim(-1, 2)
        features.masks[:] = planes.repeat_interleave(8, 2).repeat_interleave(8, 3)
    genotype = SPACE.genotype([2, 2, 4, 4, 0, 2, 2, 0, 0, 1])
    assert candidates.evaluate(genotype, 0, Epochs()).score > 0.8  # guessing: 0.2


def test_nan_features_are_the_candidate_s_failure(evaluator: Any) -> None:
    candidates = evaluator()
    candidates.train.layer2[0, 0, 0, 0, 0] = torch.nan
    with pytest.raises(NonFiniteError, match=r"loss nan in epoch 1, batch \d"):
        candidates.evaluate(GENOTYPE, 0, Epochs())


def test_a_real_search_of_three_cells(evaluator: Any, tmp_path: Path) -> None:
    rule = NoPruner()

    def search(name: str) -> list[Evaluation]:
        with TrialStore(tmp_path / f"{name}.sqlite") as store:
            loop = SearchLoop(
                build_strategy(PPOSettings(), SPACE, 0),
                SerialExecutor(evaluator(rule, epochs=2)),
                rule,
                store,
                seed=0,
                budget=Budget(3),
            )
            trials = loop.run()
            assert [trial.state for trial in trials] == [TrialState.COMPLETE] * 3
            assert store.trials() == trials
            evaluations = [untimed(trial.evaluation) for trial in trials if trial.evaluation]
            assert [trial.reward for trial in trials] == [evaluation.score for evaluation in evaluations]
        return evaluations

    first = search("one")
    assert len({evaluation.score for evaluation in first}) == 3
    assert all(0 < evaluation.score < 1 and evaluation.epochs == 2 for evaluation in first)
    assert search("two") == first
