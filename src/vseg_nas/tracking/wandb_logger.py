"""Logs searches, trainings and evaluations to Weights & Biases.

A search is one W&B run with one log call per candidate. The run is a copy of what the trial store holds, so an error of
W&B costs a warning, never the search.
"""

import tempfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from vseg_nas.errors import first_line
from vseg_nas.figures.search_pictures import write_pictures
from vseg_nas.nas.history import Outcome, best_cells, ended, outcome, token_shares, window_for
from vseg_nas.nas.trial import EVALUATION_FIELDS, Trial
from vseg_nas.nas.trial_rows import REPORTED_CELLS, trial_record
from vseg_nas.results.evaluation_result import SHOWN_KEY, EvaluationRow
from vseg_nas.results.names import training_names
from vseg_nas.results.scores import SCORE_NAMES
from vseg_nas.space import Genotype
from vseg_nas.tracking.wandb_run import wandb_errors, warn

if TYPE_CHECKING:
    from vseg_nas.nas.settings import Budget

CELL_FIELDS = ("trial", *EVALUATION_FIELDS, "expression", "genotype")


Errors = Callable[[], tuple[type[Exception], ...]]


def _disk_errors() -> tuple[type[Exception], ...]:
    return (OSError,)


class _WandbCopy:
    """A context manager that finishes a W&B run; after an error of W&B it logs nothing more, with a warning."""

    def __init__(self, run: Any) -> None:
        self._run = run
        self._open = run is not None

    def __enter__(self) -> Self:
        """Returns the object itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Finishes the run, or the next one of this process would log to it."""
        self.finish()

    def finish(self) -> None:
        """Closes the run; a second call does nothing."""
        self._attempt(lambda: self._run.finish())
        self._open = False

    def _attempt(self, action: Callable[[], object], errors: Errors = wandb_errors) -> None:
        """Runs an action if the W&B run is still open.

        Args:
            action: A call of W&B, or, with ``errors``, a step of ours that prepares what is logged.
            errors: Returns the errors that cost a warning; all others are raised.
        """
        if not self._open:
            return
        try:
            action()
        except errors() as error:
            self._open = False
            warn(f"W&B logging ends here, the work goes on: {first_line(error, longest=500)}")

    def _axis(self, axis: str, metrics: str) -> None:
        self._attempt(lambda: self._run.define_metric(axis))
        self._attempt(lambda: self._run.define_metric(metrics, step_metric=axis))


class WandbListener(_WandbCopy):
    """A search listener that logs to a W&B run; as a context manager, it finishes the run at the end.

    Args:
        run: The run that `open_wandb` has returned; None logs nothing.
    """

    def __init__(self, run: Any) -> None:
        super().__init__(run)
        self._window = window_for(0)
        self._history: list[Trial] = []

    def on_start(self, trials: Sequence[Trial], budget: "Budget") -> None:
        """Defines the axis, and logs the trials that have ended before, so that a resumed search is one curve."""
        self._window = window_for(budget.trials)
        self._axis("candidate", "search/*")
        for trial in ended(trials):
            self._log(trial, {})

    def on_trial_start(self, trial: Trial) -> None:
        """Does nothing, since nothing is known yet."""

    def on_epoch(self, trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
        """Does nothing, since the axis counts candidates, not epochs."""

    def on_trial_end(self, trial: Trial, trials: Sequence[Trial], diagnostics: dict[str, float]) -> None:
        """Logs a candidate, the strategy's diagnostics and the token shares so far."""
        self._log(trial, diagnostics)

    def on_end(self, trials: Sequence[Trial]) -> None:
        """Logs the table of the best cells and the pictures, and finishes the run."""
        if ended(trials):
            self._attempt(lambda: self._log_report(trials), _disk_errors)
        self.finish()

    def _log(self, trial: Trial, diagnostics: Mapping[str, float]) -> None:
        self._history.append(trial)
        metrics = candidate_metrics(self._history, self._window)
        metrics |= {f"strategy/{name}": value for name, value in diagnostics.items()}
        payload = {"candidate": trial.id} | {f"search/{name}": value for name, value in metrics.items()}
        self._attempt(lambda: self._run.log(payload))

    def _log_report(self, trials: Sequence[Trial]) -> None:
        rows = [trial_record(cell.trial) for cell in best_cells(trials, REPORTED_CELLS)]
        data = [[row[f] for f in CELL_FIELDS] for row in rows]
        with tempfile.TemporaryDirectory() as folder:
            pictures = [path for path in write_pictures(trials, Path(folder)) if path.suffix == ".png"]
            self._attempt(lambda: self._log_table(data, {f"report/{path.stem}": path for path in pictures}))

    def _log_table(self, data: list[list[Any]], pictures: Mapping[str, Path]) -> None:
        import wandb

        images = {name: wandb.Image(str(path)) for name, path in pictures.items()}
        self._run.log({"report/best_cells": wandb.Table(columns=list(CELL_FIELDS), data=data), **images})


class FitLogger(_WandbCopy):
    """Logs a final training to a W&B run, epoch by epoch; as a context manager, it finishes the run at the end.

    Args:
        run: The run that `open_wandb` has returned; None logs nothing.
    """

    def __init__(self, run: Any) -> None:
        super().__init__(run)
        self._stages: set[str] = set()

    def on_epoch(self, stage: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """Logs the metrics of an epoch of a stage, on an axis of that stage."""
        axis = f"{stage}/epoch"
        if stage not in self._stages:
            self._stages.add(stage)
            self._axis(axis, f"{stage}/*")
        payload = {axis: epoch} | {f"{stage}/{name}": value for name, value in metrics.items()}
        self._attempt(lambda: self._run.log(payload))

    def on_end(self, genotype: Genotype | None, scores: Mapping[str, float]) -> None:
        """Logs the final scores and, if there is one, the drawing of the cell, and finishes the run."""
        self._attempt(lambda: self._run.summary.update(scores))
        if genotype is not None:
            self._attempt(lambda: self._log_drawing(genotype), _disk_errors)
        self.finish()

    def _log_drawing(self, genotype: Genotype) -> None:
        from vseg_nas.figures.cell_drawing import save_cell_drawing

        with tempfile.TemporaryDirectory() as folder:
            path = save_cell_drawing(genotype, Path(folder) / "cell.png", genotype.key)
            self._attempt(lambda: self._log_picture(path))

    def _log_picture(self, path: Path) -> None:
        import wandb

        self._run.log({"report/cell": wandb.Image(str(path))})


class EvaluationLogger(_WandbCopy):
    """Logs a finished evaluation to a W&B run; as a context manager, it finishes the run at the end.

    Args:
        run: The run that `open_wandb` has returned; None logs nothing.
    """

    def log(self, rows: Sequence[EvaluationRow], pictures: Mapping[str, Path]) -> None:
        """Logs a row for each method, and the pictures.

        Args:
            rows: The rows of evaluate.json.
            pictures: PNG files by their titles.
        """
        if not self._open:
            return
        files = [Path(row.checkpoint).resolve() for row in rows if row.checkpoint]
        names = training_names(files)
        columns = [
            "group",
            "training",
            "seed",
            "parameters",
            *SCORE_NAMES,
            f"rolling mIoU, key frame every {SHOWN_KEY}",
        ]
        data: list[list[Any]] = []
        summary: dict[str, float] = {}
        for row in rows:
            training = names[Path(row.checkpoint).resolve()] if row.checkpoint else None
            rolling = row.rolling[SHOWN_KEY].miou if SHOWN_KEY in row.rolling else None
            scores = {name: getattr(row.pair, name) for name in SCORE_NAMES}
            data.append([row.group, training, row.seed, row.parameters, *scores.values(), rolling])
            key = f"{row.group}/{training}" if training else row.group
            summary |= {f"{key}/{name}": score for name, score in scores.items()}
        self._attempt(lambda: self._log(columns, data, pictures))
        self._attempt(lambda: self._run.summary.update(summary))

    def _log(self, columns: list[str], data: list[list[Any]], pictures: Mapping[str, Path]) -> None:
        import wandb

        table = wandb.Table(columns=columns, data=data)
        images = {f"evaluation/{title}": wandb.Image(str(path)) for title, path in pictures.items()}
        self._run.log({"evaluation/rows": table, **images})


def candidate_metrics(history: Sequence[Trial], window: int) -> dict[str, float]:
    """Returns what one log call says about the last trial of ``history`` and about the search up to it.

    Args:
        history: Ended trials, at least one, in the order in which they ended.
        window: The number of trials that mean and token shares cover.

    Returns:
        Numbers by name; a failed trial has no score and no sizes.
    """
    trial = history[-1]
    metrics: dict[str, float] = {}
    if trial.evaluation is not None:
        metrics["reward"] = trial.evaluation.reward
        values = {name: getattr(trial.evaluation, name) for name in EVALUATION_FIELDS[1:]}
        metrics |= {name: float(value) for name, value in values.items() if value is not None}
    rewards = [t.evaluation.reward for t in history if t.evaluation is not None]
    if rewards:
        recent = rewards[-window:]
        metrics |= {"best": max(rewards), "mean": sum(recent) / len(recent)}
    counts = Counter(map(outcome, history))
    metrics |= {f"trials/{kind.name.lower()}": counts[kind] for kind in Outcome}
    shares = token_shares([t.genotype for t in history[-window:]])
    vocabulary = trial.genotype.vocabulary
    metrics |= {f"operation/{n}": s for n, s in zip(vocabulary.operations, shares.operations, strict=True)}
    metrics |= {f"aggregation/{n}": s for n, s in zip(vocabulary.aggregations, shares.aggregations, strict=True)}
    names = (*vocabulary.inputs, "earlier_layer")
    return metrics | {f"input/{n}": s for n, s in zip(names, shares.inputs, strict=True)}
