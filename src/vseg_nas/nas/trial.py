"""A trial: one cell that the strategy has proposed, and what became of it. No torch in this file."""

import dataclasses
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from vseg_nas.space.genotype import Genotype


class TrialState(StrEnum):
    """Where a trial stands, in the words of stored searches; all but the first are final.

    Attributes:
        RUNNING: It was asked for and has not ended; whether it waits or is evaluated is not stored.
        COMPLETE: It was trained to the end and scored.
        STOPPED: The pruner ended its training half-way, and its scores are those of that moment.
        FAILED: Its cell cannot be trained.
        ABANDONED: It was given up through no fault of its cell.
    """

    RUNNING = "running"
    COMPLETE = "complete"
    STOPPED = "stopped"
    FAILED = "failed"
    ABANDONED = "abandoned"

    @property
    def is_final(self) -> bool:
        """Whether the trial has ended."""
        return self is not TrialState.RUNNING


class FailureKind(StrEnum):
    """In which way a candidate failed."""

    ERROR = "error"
    NONFINITE = "nonfinite"
    OOM = "oom"
    KILLED = "killed"
    TIMEOUT = "timeout"


@dataclass(frozen=True)
class Evaluation:
    """What a short training run of a cell showed on meta-val; every score is a fraction.

    Attributes:
        score: What is maximised, apart from cost: the geometric mean of the three metrics below (section 3.3), or its
            mean over distances from the key frame, see `vseg_nas.nas.rewards`.
        miou: Mean intersection over union.
        fwiou: Frequency-weighted intersection over union.
        macc: Mean pixel accuracy.
        parameters: Number of parameters of the cell.
        macs: Multiply-accumulate operations of the cell for one frame.
        seconds: Seconds spent on training and scoring.
        epochs: Number of epochs trained, which is fewer than planned if the cell was pruned.
        stopped: Whether the pruner ended the training; the scores are then those half-way.
        steadiness: Share of the predictions that stay as they are where the truth does, see `ClipScores`.
        cost: Average cost of a frame over the key-frame period, as a share of the static network's frame.
        penalised: The score, less if the cost is above its budget; None if there is no budget.
    """

    score: float
    miou: float
    fwiou: float
    macc: float
    parameters: int
    macs: int
    seconds: float
    epochs: int
    stopped: bool = False
    steadiness: float | None = None
    cost: float | None = None
    penalised: float | None = None

    @property
    def reward(self) -> float:
        """What the strategy learns from, and by what cells are ranked."""
        return self.score if self.penalised is None else self.penalised

    @property
    def is_finite(self) -> bool:
        """Whether all four scores are ordinary numbers."""
        return all(map(math.isfinite, (self.score, self.miou, self.fwiou, self.macc)))


EVALUATION_FIELDS = tuple(field.name for field in dataclasses.fields(Evaluation))
"""The names of an evaluation's values, also of the columns of the trial store and of ``trials.csv``."""


@dataclass(frozen=True)
class Trial:
    """One row of the trial store.

    Attributes:
        id: Number of the trial, from 0 on, in the order of asking.
        genotype: The cell.
        seed: Seed of everything random in its evaluation; a function of the seed of the search and the id.
        state: The stage of its life.
        evaluation: Its evaluation; present if and only if the trial is complete or stopped.
        reason: Why it failed or was abandoned.
        failure: The reason why it failed; present if and only if it did.
        reused_from: Id of the earlier trial of the same cell whose evaluation was taken over.
        failed_reward: Reward that the search gives to failures; None leaves the strategy without one.
    """

    id: int
    genotype: Genotype
    seed: int
    state: TrialState
    evaluation: Evaluation | None = None
    reason: str | None = None
    failure: FailureKind | None = None
    reused_from: int | None = None
    failed_reward: float | None = None

    @property
    def reward(self) -> float | None:
        """What the strategy learns from; None until the trial has ended, and after most failures."""
        return self.failed_reward if self.evaluation is None else self.evaluation.reward

    def completed(self, evaluation: Evaluation) -> "Trial":
        """This trial with its evaluation: complete, or stopped half-way by the pruner."""
        state = TrialState.STOPPED if evaluation.stopped else TrialState.COMPLETE
        return dataclasses.replace(self, state=state, evaluation=evaluation)

    def reusing(self, earlier: "Trial") -> "Trial":
        """This trial with the evaluation of an earlier one of the same cell; it took no time of its own."""
        if earlier.evaluation is None:
            raise ValueError(f"trial {earlier.id} has no evaluation to reuse")
        evaluation = dataclasses.replace(earlier.evaluation, seconds=0.0)
        return dataclasses.replace(self.completed(evaluation), reused_from=earlier.id)

    def failed(self, reason: str, reward: float | None = None, kind: FailureKind = FailureKind.ERROR) -> "Trial":
        """This trial as a failure, which counts for `reward` or, by default, for nothing at all."""
        return dataclasses.replace(self, state=TrialState.FAILED, reason=reason, failure=kind, failed_reward=reward)

    def abandoned(self, reason: str) -> "Trial":
        """This trial given up through no fault of its cell, about which it says nothing: it has no reward."""
        return dataclasses.replace(self, state=TrialState.ABANDONED, reason=reason)


class Progress(Protocol):
    """Called by an evaluator after every epoch."""

    def __call__(self, epoch: int, epochs: int, score: float | None) -> None:
        """Called when epoch `epoch` of `epochs` (1-based) has ended; `score` where the cell was scored at its end."""


class Evaluator(Protocol):
    """Turns a genotype into an evaluation: a short training run, or a closed form in tests."""

    def evaluate(self, genotype: Genotype, seed: int, progress: Progress) -> Evaluation:
        """Trains and scores one cell.

        The result depends on the arguments and on the state of the pruner alone. Whatever it raises is
        the candidate's failure, except `UserError` and `OSError`, which end the search.

        Raises:
            NonFiniteError: At the first NaN or infinite loss.
        """
