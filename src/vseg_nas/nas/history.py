"""What a list of trials says as numbers: outcomes, best, running mean, token shares. Every view asks here."""

import itertools
from collections import Counter, deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum

from vseg_nas.nas.trial import Evaluation, Trial, TrialState
from vseg_nas.space import Genotype, Layer
from vseg_nas.space.vocabulary import PAPER, Vocabulary


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
        operations: The shares of operations, in the order of the vocabulary.
        aggregations: The shares of aggregations, in the order of the vocabulary.
        inputs: The shares of inputs, in the order of the vocabulary, then of all earlier layers of the cell together.
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
    """Returns the shares of all tokens of the layers of some cells of one vocabulary (Figure 4).

    Raises:
        ZeroDivisionError: There are no cells.
    """
    layers = [layer for genotype in genotypes for layer in genotype.layers]
    vocabulary = genotypes[0].vocabulary if genotypes else PAPER
    inputs = len(vocabulary.inputs)

    def shares(size: int, tokens: Callable[[Layer], tuple[int, ...]]) -> tuple[float, ...]:
        counts = Counter(token for layer in layers for token in tokens(layer))
        return tuple(counts[token] / counts.total() for token in range(size))

    return TokenShares(
        operations=shares(len(vocabulary.operations), lambda layer: (layer.op1, layer.op2)),
        aggregations=shares(len(vocabulary.aggregations), lambda layer: (layer.aggregation,)),
        inputs=shares(inputs + 1, lambda layer: (min(layer.input1, inputs), min(layer.input2, inputs))),
    )


def uniform_shares(layers: int, vocabulary: Vocabulary = PAPER) -> TokenShares:
    """Returns the expected shares of cells each of whose tokens is drawn uniformly from those that are allowed."""
    inputs = [0.0] * (len(vocabulary.inputs) + 1)
    operations, aggregations = [0.0] * len(vocabulary.operations), [0.0] * len(vocabulary.aggregations)
    encoders: tuple[int | None, ...] = vocabulary.encoder_stages or (None,)
    for stages, index in itertools.product(encoders, range(layers)):

        def allowed(*before: int, stages: int | None = stages, index: int = index) -> tuple[int, ...]:
            return vocabulary.choices(stages, index, before)

        # What may follow depends on the two inputs alone, so it is asked after the first operation that is allowed.
        for one in allowed():
            for other in allowed(one):
                share = 1 / (len(encoders) * layers * len(allowed()) * len(allowed(one)))
                first = allowed(one, other)
                second = allowed(one, other, first[0])
                for source in (one, other):
                    inputs[min(source, len(inputs) - 1)] += share / 2
                for choices in (first, second):
                    for operation in choices:
                        operations[operation] += share / 2 / len(choices)
                for aggregation in (last := allowed(one, other, first[0], second[0])):
                    aggregations[aggregation] += share / len(last)
    return TokenShares(tuple(operations), tuple(aggregations), tuple(inputs))
