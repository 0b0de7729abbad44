"""Reads the run directories that a report shows: searches, and runs of all commands that leave results."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from vseg_nas.console.progress import Track, untracked
from vseg_nas.errors import RunError
from vseg_nas.nas.store import STORE, TrialStore
from vseg_nas.nas.trial import Trial
from vseg_nas.results.comparison import ComparisonResult
from vseg_nas.results.data_check import CheckResult
from vseg_nas.results.evaluation_result import EvaluationResult, EvaluationRun
from vseg_nas.results.names import short_names
from vseg_nas.results.predicted_video import PredictionResult
from vseg_nas.results.result import AnyResult, Result, ResultRun, read_result
from vseg_nas.results.runtime import BenchmarkResult, BenchmarkRun
from vseg_nas.results.training_result import TrainingResult
from vseg_nas.runs.digests import stored_weights_digest
from vseg_nas.runs.files import printable
from vseg_nas.runs.folder import check_folder
from vseg_nas.runs.record import CONFIG, flat, recorded_config, recorded_overrides

MODELS: tuple[type[Result], ...] = (
    EvaluationResult,
    BenchmarkResult,
    TrainingResult,
    ComparisonResult,
    CheckResult,
    PredictionResult,
)
"""The results that commands leave, other than a store of trials."""

_DIGEST_DIGITS = 12
"""Digits of a SHA-256 that tell networks apart, in names of searches too."""


@dataclass(frozen=True)
class SearchRun:
    """A search that a report shows.

    Attributes:
        name: A short name, unique among the runs of the report.
        path: The run directory.
        config: The configuration, by dotted keys. Where the run has stored the digest of its static network, all
            keys of ``static`` are replaced by ``static.weights``, the beginning of that digest.
        command: The command that started the search.
        trials: All trials in order of their ids, ended or not.
    """

    name: str
    path: Path
    config: dict[str, object]
    command: str
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class Runs:
    """All runs of a report by kind, each kind in the order given."""

    searches: tuple[SearchRun, ...]
    comparisons: tuple[ResultRun[ComparisonResult], ...]
    trainings: tuple[ResultRun[TrainingResult], ...]
    evaluations: tuple[EvaluationRun, ...]
    benchmarks: tuple[BenchmarkRun, ...]
    checks: tuple[ResultRun[CheckResult], ...]
    predictions: tuple[ResultRun[PredictionResult], ...]

    @property
    def with_results(self) -> list[ResultRun[Any]]:
        """All runs except searches."""
        return [
            *self.comparisons,
            *self.trainings,
            *self.evaluations,
            *self.benchmarks,
            *self.checks,
            *self.predictions,
        ]


def open_runs(paths: Sequence[Path], track: Track = untracked) -> Runs:
    """Reads run directories; one that is named twice counts once. `track` shows the progress.

    Raises:
        RunError: There are no directories, or one holds no run or a damaged search.
        DataError: A file of results is damaged.
    """
    if not paths:
        raise RunError("run: found none, expected the directory of at least one run")
    folders = list(dict.fromkeys(path.resolve() for path in paths))
    names = dict(zip(folders, short_names(folders), strict=True))
    for folder in folders:
        _check_kind(folder)

    def read(model: type[AnyResult]) -> tuple[ResultRun[AnyResult], ...]:
        files = [folder / model.FILE for folder in folders if (folder / model.FILE).is_file()]
        return tuple(ResultRun(names[file.parent], file.parent, read_result(file, model)) for file in files)

    searches = [folder for folder in folders if (folder / STORE).is_file()]
    return Runs(
        searches=tuple(_search(folder, names[folder]) for folder in track(searches, "reading searches")),
        comparisons=read(ComparisonResult),
        trainings=read(TrainingResult),
        evaluations=read(EvaluationResult),
        benchmarks=read(BenchmarkResult),
        checks=read(CheckResult),
        predictions=read(PredictionResult),
    )


def _check_kind(folder: Path) -> None:
    """Refuses a directory that holds none of the files that a report shows."""
    if not folder.is_dir():
        raise RunError(f"{folder}: found no such directory, expected that of a run")
    check_folder(folder)
    expected = [STORE, *(model.FILE for model in MODELS)]
    if not any((folder / file).is_file() for file in expected):
        raise RunError(f"{folder}: found no run, expected one of {', '.join(expected)} in it")


def _search(folder: Path, name: str) -> SearchRun:
    config = _config(folder)
    with TrialStore.read(folder / STORE) as store:
        trials = tuple(store.trials())
    command = shlex.join(["python", "-m", "vseg_nas.search", *recorded_overrides(folder)])
    return SearchRun(name, folder, config, command, trials)


def _config(folder: Path) -> dict[str, object]:
    config = {k: printable(v) if isinstance(v, str) else v for k, v in flat(recorded_config(folder)).items()}
    for key in ("dataset.name", "strategy.name"):
        if not isinstance(config.get(key), str):
            raise RunError(f"{folder / CONFIG}: {key}: found {str(config.get(key))[:40]!r}, expected a name")
    # The same network may lie in another place, and another one in the same place, so its content tells searches apart.
    if digest := stored_weights_digest(folder):
        config = {key: value for key, value in config.items() if not key.startswith("static.")}
        config["static.weights"] = digest[:_DIGEST_DIGITS]
    return config
