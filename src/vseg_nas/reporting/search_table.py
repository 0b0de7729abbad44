"""Groups of searches as numbers: what Figure 3 shows as curves, and how the candidates ended."""

from collections.abc import Sequence

from vseg_nas.nas.trial import Trial, TrialState
from vseg_nas.reporting.history import best_cells, ended
from vseg_nas.reporting.rendering import EN_DASH, Column, Number, Row, Table
from vseg_nas.reporting.search_groups import SearchGroup

NOTES = (
    "Scores: geometric mean of mIoU, frequency-weighted IoU and mean accuracy on meta-val, as fractions. ± is the "
    "sample standard deviation over searches; searches of a group differ in their seed, and in how many candidates "
    "they have. The best of more candidates is higher by chance alone.",
    "mean: over the complete candidates of each search, then over searches; last quarter: of those among the last "
    "quarter of the candidates. A reused score counts as often as its cell was proposed. stopped, failed: shares of "
    "all candidates of the group.",
)


def search_table(groups: Sequence[tuple[SearchGroup, Sequence[Sequence[Trial]]]]) -> Table:
    """One row a group of searches.

    Args:
        groups: each with the trials of its searches; in all of these some candidate has ended.
    """
    columns = (
        *(Column(title, left=True) for title in ("strategy", "data set", "differs in")),
        *map(Column, ("searches", "candidates each", "best score", "mean score", "mean of last quarter")),
        *map(Column, ("stopped, %", "failed, %")),
    )
    rows = tuple(_row(group, [ended(trials) for trials in searches]) for group, searches in groups)
    return Table("Searches that differ in their seed only", columns, (rows,), NOTES)


def _row(group: SearchGroup, searches: Sequence[Sequence[Trial]]) -> Row:
    counts = sorted({len(trials) for trials in searches})
    candidates = str(counts[0]) if len(counts) == 1 else f"{counts[0]}{EN_DASH}{counts[-1]}"
    best = [cell.evaluation.score for trials in searches for cell in best_cells(trials, 1)]
    head = (group.strategy, group.dataset, group.differs or None, Number(len(searches), 0), candidates)
    means = _means(searches), _means([trials[-last_quarter(len(trials)) :] for trials in searches])
    shares = (_share(searches, state) for state in (TrialState.STOPPED, TrialState.FAILED))
    return (*head, _over(best), *map(_over, means), *shares)


def last_quarter(candidates: int) -> int:
    """How many candidates the last quarter of a search has: at least one."""
    return -(-candidates // 4)


def _means(searches: Sequence[Sequence[Trial]]) -> list[float]:
    """The mean score of the complete candidates of each search that has any."""
    complete = [
        [t.evaluation.score for t in trials if t.evaluation is not None and t.state == TrialState.COMPLETE]
        for trials in searches
    ]
    return [sum(scores) / len(scores) for scores in complete if scores]


def _over(values: Sequence[float]) -> Number | None:
    return Number.over(values, 4) if values else None


def _share(searches: Sequence[Sequence[Trial]], state: TrialState) -> Number:
    states = [trial.state for trials in searches for trial in trials]
    return Number(100 * states.count(state) / len(states), 1)
