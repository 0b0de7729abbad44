"""Tables of searches: groups that differ only in the seed, and the best cell beside baselines."""

import statistics
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from vseg_nas.nas.history import best_cells, ended
from vseg_nas.nas.trial import Trial, TrialState
from vseg_nas.reporting.table_formats import Column, Row, Table
from vseg_nas.results.comparison import RANDOM_CELL, ComparisonRow
from vseg_nas.results.names import dataset_label
from vseg_nas.results.numbers import EN_DASH, Number, percent
from vseg_nas.runs.record import is_among
from vseg_nas.schema import SearchConfig
from vseg_nas.settings import free_keys

_FREE_KEYS = free_keys(SearchConfig, "when_averaged")


@dataclass(frozen=True)
class SearchGroup:
    """Searches that differ only in their seed and in how they were executed.

    Attributes:
        strategy: The name of the strategy.
        dataset: The name of the data set, as people write it.
        differs: The values in which the group differs from others with the same strategy and data set; may be empty.
        members: The indices of the searches.
    """

    strategy: str
    dataset: str
    differs: str
    members: tuple[int, ...]

    @property
    def name(self) -> str:
        """Strategy, data set and differences in one line."""
        family = f"{self.strategy} on {self.dataset}"
        return f"{family}, {self.differs}" if self.differs else family


def group_searches(configs: Sequence[Mapping[str, object]]) -> list[SearchGroup]:
    """Groups searches by their configurations (flat, by dotted keys), in order of appearance."""
    groups: dict[tuple[tuple[str, str], ...], list[int]] = defaultdict(list)
    for index, config in enumerate(configs):
        kept = ((key, str(value)) for key, value in config.items() if not is_among(key, _FREE_KEYS))
        groups[tuple(sorted(kept))].append(index)
    families: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for key in groups:
        families[_family(dict(key))].append(dict(key))
    found = []
    for key, indices in groups.items():
        family = _family(dict(key))
        found.append(SearchGroup(*family, _differs(dict(key), families[family]), tuple(indices)))
    return found


def _family(config: Mapping[str, str]) -> tuple[str, str]:
    dataset = config["dataset.name"]
    return config["strategy.name"], dataset_label(dataset)


def _differs(config: Mapping[str, str], family: Sequence[Mapping[str, str]]) -> str:
    keys = sorted({key for other in family for key in other})
    differing = [key for key in keys if len({other.get(key) for other in family}) > 1]
    return ", ".join(f"{key.rpartition('.')[2]} {config.get(key, '-')}" for key in differing)


NOTES = (
    "Scores: geometric mean of mIoU, frequency-weighted IoU and mean accuracy on meta-val, as fractions. ± is the "
    "sample standard deviation over searches; searches of a group differ in their seed, and in how many candidates "
    "they have. The best of more candidates is higher by chance alone.",
    "mean: over the complete candidates of each search, then over searches; last quarter: of those among the last "
    "quarter of the candidates. A reused score counts as often as its cell was proposed. stopped, failed: shares of "
    "all candidates of the group.",
)


def search_table(groups: Sequence[tuple[SearchGroup, Sequence[Sequence[Trial]]]]) -> Table:
    """Returns the table with a row for each group of searches.

    Args:
        groups: The groups, each with the trials of its searches; in every search some candidate has ended.
    """
    columns = (
        *(Column(title, left=True) for title in ("strategy", "data set", "differs in")),
        *map(Column, ("searches", "candidates each", "best score", "mean score", "mean of last quarter")),
        *map(Column, ("stopped, %", "failed, %")),
    )
    rows = tuple(_group_row(group, [ended(trials) for trials in searches]) for group, searches in groups)
    return Table("Searches that differ in their seed only", columns, (rows,), NOTES)


def _group_row(group: SearchGroup, searches: Sequence[Sequence[Trial]]) -> Row:
    counts = sorted({len(trials) for trials in searches})
    candidates = str(counts[0]) if len(counts) == 1 else f"{counts[0]}{EN_DASH}{counts[-1]}"
    best = [cell.evaluation.score for trials in searches for cell in best_cells(trials, 1)]
    head = (group.strategy, group.dataset, group.differs or None, Number(len(searches), 0), candidates)
    means = _means(searches), _means([trials[-last_quarter(len(trials)) :] for trials in searches])
    shares = (_share(searches, state) for state in (TrialState.STOPPED, TrialState.FAILED))
    return (*head, _over(best), *map(_over, means), *shares)


def last_quarter(candidates: int) -> int:
    """Returns how many candidates the last quarter of a search has, at least one."""
    return -(-candidates // 4)


def _means(searches: Sequence[Sequence[Trial]]) -> list[float]:
    """Returns the mean score of the complete candidates of each search that has any."""
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


COLUMNS = ("meta-val score, %", "meta-val mIoU, %", "val score, %", "val mIoU, %")


def comparison_table(rows: Sequence[ComparisonRow], title: str = "", notes: tuple[str, ...] = ()) -> Table:
    """Scores in percent: mean ± sample standard deviation over the trainings of a cell; of the random cells the median.

    Args:
        rows: The rows of one comparison.
        title: The title of the table.
        notes: Sentences below it.
    """
    groups: dict[str, list[ComparisonRow]] = {}
    for row in rows:
        groups.setdefault(row.name, []).append(row)
    if cells := groups.pop(RANDOM_CELL, None):
        groups[f"median of {len(cells)} random cells"] = [_median(cells)]
    columns = (Column("", left=True), Column("trainings"), *map(Column, COLUMNS), Column("cell parameters"))
    return Table(title, columns, (tuple(_comparison_row(name, group) for name, group in groups.items()),), notes)


def _comparison_row(name: str, group: Sequence[ComparisonRow]) -> Row:
    scores = [[row.meta_val.score for row in group], [row.meta_val.miou for row in group]]
    scores += [[row.val.score for row in group], [row.val.miou for row in group]]
    parameters = group[0].parameters
    head, tail = (Number(len(group), 0), Number(parameters, 0)) if parameters else (None, None)
    return (name, head, *map(percent, scores), tail)


def _median(rows: Sequence[ComparisonRow]) -> ComparisonRow:
    """Returns the row whose score on meta-val is the (lower) median."""
    middle = statistics.median_low(row.meta_val.score for row in rows)
    return next(row for row in rows if row.meta_val.score == middle)
