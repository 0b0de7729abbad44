"""What a list of trials says as numbers: outcomes, best, running mean, token shares. Every view asks here."""

from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from vseg_nas.nas.trial import Evaluation, Trial, TrialState
from vseg_nas.space import Genotype, Layer
from vseg_nas.space.vocabulary import AGGREGATIONS, INPUTS, OPERATIONS


class Outcome(StrEnum):
    """How a trial ended, for people: a reused score counts as reused, however the earlier trial ended."""

    COMPLETE = "complete"
    STOPPED = "stopped early"
    REUSED = "reused"
    FAILED = "failed"
    ABANDONED = "abandoned"


OUTCOMES = {
    TrialState.COMPLETE: Outcome.COMPLETE,
    TrialState.STOPPED: Outcome.STOPPED,
    TrialState.FAILED: Outcome.FAILED,
    TrialState.ABANDONED: Outcome.ABANDONED,
}


@dataclass(frozen=True)
class Scored:
    """A trial that has an evaluation."""

    trial: Trial
    evaluation: Evaluation


@dataclass(frozen=True)
class TokenShares:
    """How often each vocabulary entry was chosen, as fractions that sum to 1 over each vocabulary.

    Attributes:
        operations: The shares of operations, in the order of `OPERATIONS`.
        aggregations: The shares of aggregations, in the order of `AGGREGATIONS`.
        inputs: The shares of inputs, in the order of `INPUTS`, then of all earlier layers of the cell together.
    """

    operations: tuple[float, ...]
    aggregations: tuple[float, ...]
    inputs: tuple[float, ...]


def window_for(candidates: int) -> int:
    """Returns how many recent candidates a running mean covers: a twentieth of the search, at least ten."""
    return max(10, candidates // 20)


def ended(trials: Iterable[Trial]) -> list[Trial]:
    """Returns the trials in a final state, in order of their ids."""
    return sorted((trial for trial in trials if trial.state.is_final), key=lambda trial: trial.id)


def outcome(trial: Trial) -> Outcome:
    """Returns how a trial has ended.

    Raises:
        KeyError: The trial has not ended.
    """
    return OUTCOMES[trial.state] if trial.reused_from is None else Outcome.REUSED


def outcome_counts(trials: Iterable[Trial]) -> dict[Outcome, int]:
    """Returns the number of ended trials with each outcome; their sum is the number of candidates tried."""
    counts = Counter(map(outcome, ended(trials)))
    return {kind: counts[kind] for kind in Outcome}


def scored(trials: Iterable[Trial]) -> list[Scored]:
    """Returns the trials with an evaluation, in order of their ids. Failed ones have none, which is no score of 0."""
    return [Scored(trial, trial.evaluation) for trial in ended(trials) if trial.evaluation is not None]


def best_cells(trials: Iterable[Trial], k: int) -> list[Scored]:
    """Returns the ``k`` best different cells, highest reward first; of equal rewards, the earlier trial is first."""
    ranked = sorted(scored(trials), key=lambda cell: (-cell.evaluation.reward, cell.trial.id))
    best: dict[str, Scored] = {}
    for cell in ranked:
        best.setdefault(cell.trial.genotype.key, cell)
    return list(best.values())[:k]


def running_mean(values: Sequence[float], window: int) -> list[float]:
    """Returns for each value the mean of it and of the ``window - 1`` values before it, or fewer at the beginning."""
    recent: deque[float] = deque(maxlen=window)
    means = []
    for value in values:
        recent.append(value)
        means.append(sum(recent) / len(recent))
    return means


def token_shares(genotypes: Sequence[Genotype]) -> TokenShares:
    """Returns the shares of all tokens of some cells (Figure 4).

    Raises:
        ZeroDivisionError: There are no cells.
    """
    layers = [layer for genotype in genotypes for layer in genotype.layers]

    def shares(size: int, tokens: Callable[[Layer], tuple[int, ...]]) -> tuple[float, ...]:
        counts = Counter(token for layer in layers for token in tokens(layer))
        return tuple(counts[token] / counts.total() for token in range(size))

    return TokenShares(
        operations=shares(len(OPERATIONS), lambda layer: (layer.op1, layer.op2)),
        aggregations=shares(len(AGGREGATIONS), lambda layer: (layer.aggregation,)),
        inputs=shares(
            len(INPUTS) + 1,
            lambda layer: (min(layer.input1, len(INPUTS)), min(layer.input2, len(INPUTS))),
        ),
    )


def uniform_shares(layers: int) -> TokenShares:
    """Returns the expected shares of cells that are sampled uniformly; only later layers can read an earlier one."""
    pools = [len(INPUTS) + i for i in range(layers)]
    each = sum(1 / pool for pool in pools) / layers
    return TokenShares(
        operations=(1 / len(OPERATIONS),) * len(OPERATIONS),
        aggregations=(1 / len(AGGREGATIONS),) * len(AGGREGATIONS),
        inputs=(each,) * len(INPUTS) + (1 - len(INPUTS) * each,),
    )
