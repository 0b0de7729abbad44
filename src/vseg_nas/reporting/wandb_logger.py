"""The search on Weights & Biases: one run per search, one log call per candidate. Only this file knows wandb.

The run is a copy of what the trial store holds; what goes wrong with it costs a warning, never the search.
"""

import logging
import netrc
import os
import re
import socket
import sys
import tempfile
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Literal, Self
from urllib.parse import urlsplit
from urllib.request import getproxies

from vseg_nas.nas.trial import Trial
from vseg_nas.reporting.candidate_metrics import candidate_metrics
from vseg_nas.reporting.history import best_cells, ended, window_for
from vseg_nas.reporting.run_names import training_names
from vseg_nas.reporting.summary import REPORTED_CELLS, write_pictures
from vseg_nas.reporting.tables import EVALUATION_FIELDS, trial_record
from vseg_nas.space import Genotype

if TYPE_CHECKING:
    from vseg_nas.nas.loop import Budget  # importing it loads torch

Mode = Literal["auto", "online", "offline"]

RunMode = Literal["online", "offline", "disabled"]
MODES: tuple[RunMode, ...] = ("online", "offline", "disabled")  # each falls back on the next
DEFAULT_HOSTS = ("api.wandb.ai", "api.forge.coreweave.com")  # older and newer releases of wandb
# Without a finish timeout an offline run comes back from `finish` before its file is written.
SETTINGS: dict[str, Any] = {"silent": True, "console": "off", "finish_timeout": 60.0}
ONLINE_SETTINGS: dict[str, Any] = {"init_timeout": 20.0, "login_timeout": 20.0}
_KNOCK_S = 2.0
SECRET = re.compile(r"(key|token|secret|password)s?$", re.IGNORECASE)
CELL_FIELDS = ("trial", *EVALUATION_FIELDS, "expression", "genotype")

log = logging.getLogger(__name__)


def open_wandb(
    mode: Mode, dir: Path, project: str, name: str, config: Mapping[str, Any], group: str | None = None
) -> Any:
    """Opens a quiet W&B run: online, failing that offline, failing that one that logs nowhere.

    Args:
        mode: `auto` is online if an API key is found and offline if not, unless WANDB_MODE says otherwise.
        dir: W&B makes its folder `wandb` in this one.
        project: On W&B.
        name: Of the run.
        config: Plain data to keep with the run, less the values of keys named like secrets.
        group: On W&B, such as one sweep.

    Returns:
        The `wandb.Run`, to be handed to `WandbListener`, which finishes it.
    """
    import wandb

    dir.mkdir(parents=True, exist_ok=True)
    wanted: RunMode = _mode(os.environ) if mode == "auto" else mode
    for attempt in MODES[MODES.index(wanted) :]:
        chosen = SETTINGS | (ONLINE_SETTINGS if attempt == "online" else {})
        # Settings come and go between releases of wandb; those that this one lacks are not missed.
        settings = wandb.Settings(**{k: v for k, v in chosen.items() if k in wandb.Settings.model_fields})
        try:
            if attempt == "online":
                _knock()
            wandb.setup(settings)  # or logging in is announced, silent or not
            return wandb.init(
                mode=attempt,
                dir=str(dir),
                project=project,
                name=name,
                group=group,
                config=without_secrets(config),
                settings=settings,
            )
        except (wandb.errors.Error, OSError) as error:
            reason = str(error).partition("\n")[0]
            _warn(f"W&B run cannot be opened {attempt}, trying the next best: {reason}")
    raise AssertionError("a disabled W&B run can always be opened")


def _mode(env: Mapping[str, str]) -> RunMode:
    for mode in MODES:
        if env.get("WANDB_MODE") == mode:
            return mode
    return "online" if has_credentials(env) else "offline"


def _knock() -> None:
    """Finds out within seconds that no server answers, which W&B itself would try for twenty.

    Raises:
        OSError: none does, and no proxy is there to ask instead.
    """
    own = urlsplit(os.environ.get("WANDB_BASE_URL", ""))
    hosts = (own.hostname,) if own.hostname else DEFAULT_HOSTS
    port = own.port or (80 if own.scheme == "http" else 443)
    problem: OSError | None = None
    for host in hosts if not getproxies() else ():
        try:
            socket.create_connection((host, port), timeout=_KNOCK_S).close()
            return
        except OSError as error:
            problem = error
    if problem is not None:
        raise problem


def _warn(message: str) -> None:
    """For the run's log, and for the terminal: nothing falls back in silence."""
    log.warning(message)
    sys.stderr.write(f"warning: {message}\n")


def has_credentials(env: Mapping[str, str]) -> bool:
    """Whether wandb would find an API key, in the environment or in the netrc file. Asks no network."""
    if env.get("WANDB_API_KEY") or env.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    own_server = env.get("WANDB_BASE_URL")
    hosts = (urlsplit(own_server).netloc,) if own_server else DEFAULT_HOSTS
    home = Path.home()
    paths = [Path(env["NETRC"]).expanduser()] if env.get("NETRC") else [home / ".netrc", home / "_netrc"]
    try:
        path = next(path for path in paths if path.is_file())
        entries = netrc.netrc(path)
    except (StopIteration, netrc.NetrcParseError, OSError):
        return False
    return any(entries.authenticators(host) for host in hosts)


def without_secrets(config: Mapping[str, Any]) -> dict[str, Any]:
    """A copy in which values of keys such as `api_key` or `password` are left out, at any depth."""

    def clean(key: str, value: Any) -> Any:
        if SECRET.search(key):
            return "(left out)"
        return without_secrets(value) if isinstance(value, Mapping) else value

    return {key: clean(str(key), value) for key, value in config.items()}


class _Copy:
    """A W&B run that ends quietly if something goes wrong with it, and a context manager that finishes it."""

    def __init__(self, run: Any) -> None:
        import wandb

        self._run = run
        self._errors = (wandb.errors.Error, OSError)  # a dead wandb process is a ConnectionResetError
        self._open = True

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
        self._attempt(self._run.finish)
        self._open = False

    def _attempt(self, action: Callable[[], object]) -> None:
        if not self._open:
            return
        try:
            action()
        except self._errors as error:
            self._open = False
            _warn(f"W&B logging ends here, the work goes on: {str(error).partition(chr(10))[0]}")

    def _axis(self, axis: str, metrics: str) -> None:
        self._attempt(lambda: self._run.define_metric(axis))
        self._attempt(lambda: self._run.define_metric(metrics, step_metric=axis))


class WandbListener(_Copy):
    """A search listener that logs to a W&B run, and a context manager: leaving it finishes the run.

    Args:
        run: From `open_wandb`.
    """

    def __init__(self, run: Any) -> None:
        super().__init__(run)
        self._window = window_for(0)
        self._history: list[Trial] = []

    def on_start(self, trials: Sequence[Trial], budget: "Budget") -> None:
        """Names the axis, and logs what ended before: a continued search is one whole curve."""
        self._window = window_for(budget.trials)
        self._axis("candidate", "search/*")
        for trial in ended(trials):
            self._log(trial, {})

    def on_trial_start(self, trial: Trial) -> None:
        """Nothing is known yet."""

    def on_epoch(self, trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
        """Candidates are the axis, not their epochs."""

    def on_trial_end(self, trial: Trial, trials: Sequence[Trial], diagnostics: dict[str, float]) -> None:
        """Logs a candidate, the strategy's diagnostics and the token shares so far."""
        self._log(trial, diagnostics)

    def on_end(self, trials: Sequence[Trial]) -> None:
        """Logs the table of the best cells and the pictures, and finishes the run."""
        if ended(trials):
            self._attempt(lambda: self._log_report(trials))
        self.finish()

    def _log(self, trial: Trial, diagnostics: Mapping[str, float]) -> None:
        self._history.append(trial)
        metrics = candidate_metrics(self._history, self._window)
        metrics |= {f"strategy/{name}": value for name, value in diagnostics.items()}
        payload = {"candidate": trial.id} | {f"search/{name}": value for name, value in metrics.items()}
        self._attempt(lambda: self._run.log(payload))

    def _log_report(self, trials: Sequence[Trial]) -> None:
        import wandb

        rows = [trial_record(cell.trial) for cell in best_cells(trials, REPORTED_CELLS)]
        table = wandb.Table(columns=list(CELL_FIELDS), data=[[row[f] for f in CELL_FIELDS] for row in rows])
        with tempfile.TemporaryDirectory() as folder:
            pictures = [path for path in write_pictures(trials, Path(folder)) if path.suffix == ".png"]
            images = {f"report/{path.stem}": wandb.Image(str(path)) for path in pictures}
            self._run.log({"report/best_cells": table, **images})


class FitLogger(_Copy):
    """Logs a final training to a W&B run, epoch by epoch, and a context manager: leaving it finishes the run.

    Args:
        run: From `open_wandb`.
    """

    def __init__(self, run: Any) -> None:
        super().__init__(run)
        self._stages: set[str] = set()

    def on_epoch(self, stage: str, epoch: int, metrics: Mapping[str, float]) -> None:
        """Logs what an epoch of a stage gave, on an axis of that stage."""
        axis = f"{stage}/epoch"
        if stage not in self._stages:
            self._stages.add(stage)
            self._axis(axis, f"{stage}/*")
        payload = {axis: epoch} | {f"{stage}/{name}": value for name, value in metrics.items()}
        self._attempt(lambda: self._run.log(payload))

    def on_end(self, genotype: Genotype, scores: Mapping[str, float]) -> None:
        """Logs the final scores and the drawing of the cell, and finishes the run."""
        self._attempt(lambda: self._run.summary.update(scores))
        self._attempt(lambda: self._log_drawing(genotype))
        self.finish()

    def _log_drawing(self, genotype: Genotype) -> None:
        import wandb

        from vseg_nas.reporting.drawing import save_cell_drawing  # it loads matplotlib

        with tempfile.TemporaryDirectory() as folder:
            path = save_cell_drawing(genotype, Path(folder) / "cell.png", genotype.key)
            self._run.log({"report/cell": wandb.Image(str(path))})


class EvaluationLogger(_Copy):
    """Puts a finished evaluation on a W&B run, and a context manager: leaving it finishes the run.

    Args:
        run: From `open_wandb`.
    """

    def log(self, rows: Sequence[Mapping[str, Any]], pictures: Mapping[str, Path]) -> None:
        """Logs one row a method and the pictures.

        Args:
            rows: those of evaluate.json.
            pictures: PNG files by title.
        """
        self._attempt(lambda: self._log(rows, pictures))

    def _log(self, rows: Sequence[Mapping[str, Any]], pictures: Mapping[str, Path]) -> None:
        import wandb

        files = [Path(row["checkpoint"]).resolve() for row in rows if row["checkpoint"]]
        names = training_names(files)
        columns = ["group", "training", "seed", "parameters", *_SCORES, "rolling mIoU, key frame every 5"]
        table = wandb.Table(columns=columns)
        summary: dict[str, float] = {}
        for row in rows:
            training = names[Path(row["checkpoint"]).resolve()] if row["checkpoint"] else None
            rolling = row["rolling"].get("5", {}).get("miou")
            scores = {name: row["pair"][name] for name in _SCORES}
            table.add_data(row["group"], training, row["seed"], row["parameters"], *scores.values(), rolling)
            key = f"{row['group']}/{training}" if training else row["group"]
            summary |= {f"{key}/{name}": score for name, score in scores.items()}
        images = {f"evaluation/{title}": wandb.Image(str(path)) for title, path in pictures.items()}
        self._run.log({"evaluation/rows": table, **images})
        self._run.summary.update(summary)


_SCORES = ("miou", "fwiou", "macc", "score")
