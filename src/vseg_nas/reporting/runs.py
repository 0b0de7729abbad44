"""The run directories that a report is made of: searches, evaluations, latency measurements."""

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from vseg_nas.console.progress import Track, untracked
from vseg_nas.errors import RunError
from vseg_nas.files import check_folder, printable
from vseg_nas.nas.store import STORE, TrialStore
from vseg_nas.nas.trial import Trial
from vseg_nas.results.benchmark import BenchmarkResult, BenchmarkRun
from vseg_nas.results.evaluation import EvaluationResult, EvaluationRun
from vseg_nas.results.names import short_names
from vseg_nas.results.record import read_result
from vseg_nas.run_record import CONFIG, flat, recorded_config, recorded_overrides


@dataclass(frozen=True)
class SearchRun:
    """A search.

    Attributes:
        name: short, different for all runs of a report.
        path: its directory.
        config: its configuration, by dotted keys.
        command: that started it.
        trials: by id, ended or not.
    """

    name: str
    path: Path
    config: dict[str, object]
    command: str
    trials: tuple[Trial, ...]


@dataclass(frozen=True)
class Runs:
    """All runs of a report, by kind, in the order given."""

    searches: tuple[SearchRun, ...]
    evaluations: tuple[EvaluationRun, ...]
    benchmarks: tuple[BenchmarkRun, ...]


def open_runs(paths: Sequence[Path], track: Track = untracked) -> Runs:
    """Reads run directories; one named twice counts once. `track` shows how far it has come.

    Raises:
        RunError: no directories, or one that holds no run or a damaged search.
        DataError: a damaged evaluation or measurement.
    """
    if not paths:
        raise RunError("run: found none, expected the directory of at least one run")
    folders = list(dict.fromkeys(path.resolve() for path in paths))
    names = dict(zip(folders, short_names(folders), strict=True))
    kinds = {folder: _kinds(folder) for folder in folders}

    def holding(file: str) -> list[Path]:
        return [folder for folder in folders if file in kinds[folder]]

    return Runs(
        tuple(_search(folder, names[folder]) for folder in track(holding(STORE), "reading searches")),
        tuple(
            EvaluationRun(names[folder], folder, read_result(folder / EvaluationResult.FILE, EvaluationResult))
            for folder in holding(EvaluationResult.FILE)
        ),
        tuple(
            BenchmarkRun(names[folder], folder, read_result(folder / BenchmarkResult.FILE, BenchmarkResult))
            for folder in holding(BenchmarkResult.FILE)
        ),
    )


def _kinds(folder: Path) -> list[str]:
    expected = (STORE, EvaluationResult.FILE, BenchmarkResult.FILE)
    if not folder.is_dir():
        raise RunError(f"{folder}: found no such directory, expected that of a run")
    check_folder(folder)
    found = [file for file in expected if (folder / file).is_file()]
    if not found:
        raise RunError(f"{folder}: found no run, expected one of {', '.join(expected)} in it")
    return found


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
    return config
