"""A candidate as the numbers that a dashboard plots over the candidates."""

from collections import Counter
from collections.abc import Sequence

from vseg_nas.nas.trial import Trial
from vseg_nas.reporting.history import Outcome, outcome, token_shares
from vseg_nas.reporting.tables import EVALUATION_FIELDS
from vseg_nas.space.vocabulary import AGGREGATIONS, INPUTS, OPERATIONS


def candidate_metrics(history: Sequence[Trial], window: int) -> dict[str, float]:
    """What one log call says of the last trial of `history` and of the search up to it.

    Args:
        history: Ended trials, at least one, in the order they ended.
        window: How many of the last trials mean and token shares cover.

    Returns:
        Numbers by name; a failed trial has none of its own.
    """
    trial = history[-1]
    metrics: dict[str, float] = {}
    if trial.evaluation is not None:
        metrics["reward"] = trial.evaluation.score
        metrics |= {name: float(getattr(trial.evaluation, name)) for name in EVALUATION_FIELDS[1:]}
    scores = [t.evaluation.score for t in history if t.evaluation is not None]
    if scores:
        recent = scores[-window:]
        metrics |= {"best": max(scores), "mean": sum(recent) / len(recent)}
    counts = Counter(map(outcome, history))
    metrics |= {f"trials/{kind.name.lower()}": counts[kind] for kind in Outcome}
    shares = token_shares([t.genotype for t in history[-window:]])
    metrics |= {f"operation/{n}": s for n, s in zip(OPERATIONS, shares.operations, strict=True)}
    metrics |= {f"aggregation/{n}": s for n, s in zip(AGGREGATIONS, shares.aggregations, strict=True)}
    names = (*INPUTS, "earlier_layer")
    return metrics | {f"input/{n}": s for n, s in zip(names, shares.inputs, strict=True)}
