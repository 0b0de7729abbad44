"""Trials as rows: of the table of the best cells, and of a CSV file with all of them."""

import csv
from collections.abc import Iterable
from pathlib import Path

from vseg_nas.nas.history import Scored
from vseg_nas.nas.trial import EVALUATION_FIELDS, Trial
from vseg_nas.results.numbers import quantity
from vseg_nas.runs.files import replacing

REPORTED_CELLS = 10
"""How many of the best cells every table shows."""
HEADINGS = ("rank", "trial", "score", "mIoU", "params", "MACs", "epochs", "cell")
TRIAL_FIELDS = ("trial", "state", "reused_from", "seed")
CSV_FIELDS = (*TRIAL_FIELDS, *EVALUATION_FIELDS, "reason", "expression", "genotype")


def best_cell_row(rank: int, cell: Scored) -> tuple[str, ...]:
    """Returns a row of a table of the best cells under `HEADINGS`."""
    e = cell.evaluation
    epochs = f"{e.epochs}, stopped" if e.stopped else str(e.epochs)
    scores = (f"{e.score:.4f}", f"{e.miou:.4f}")
    sizes = (quantity(e.parameters), quantity(e.macs))
    return (str(rank), str(cell.trial.id), *scores, *sizes, epochs, cell.trial.genotype.expression())


def write_trials_csv(trials: Iterable[Trial], path: Path) -> Path:
    """Writes every trial as a row; floats are exact, genotypes are JSON, what a trial lacks is empty.

    Returns:
        `path`, replaced whole.
    """
    with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, CSV_FIELDS)
        writer.writeheader()
        writer.writerows(trial_record(trial) for trial in sorted(trials, key=lambda trial: trial.id))
    return path


def trial_record(trial: Trial) -> dict[str, object]:
    """Returns a trial as one flat row under the names of `CSV_FIELDS`; None where it has no value."""
    evaluation = {name: getattr(trial.evaluation, name, None) for name in EVALUATION_FIELDS}
    return {
        "trial": trial.id,
        "state": str(trial.state),
        "reused_from": trial.reused_from,
        "seed": trial.seed,
        **evaluation,
        "reason": trial.reason,
        "expression": trial.genotype.expression(),
        "genotype": trial.genotype.to_json(),
    }
