import configparser
import io
import logging
import netrc
import os
import socket
import types
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest
import wandb
from PIL import Image

from tests.fixtures import MakeTrials
from vseg_nas.nas.listener import SearchListener
from vseg_nas.nas.settings import Budget
from vseg_nas.nas.trial import Trial
from vseg_nas.results.evaluation_result import EvaluationRow
from vseg_nas.results.scores import RollingScores, SegmentationScores
from vseg_nas.runs.folder import check_folder
from vseg_nas.space.hand_written import HAND_WRITTEN
from vseg_nas.tracking import wandb_logger
from vseg_nas.tracking.wandb_logger import EvaluationLogger, FitLogger, WandbListener
from vseg_nas.tracking.wandb_run import has_credentials, open_wandb, without_secrets


class FakeRun:
    """Remembers what it is told; breaks at the log call of this number."""

    def __init__(self, breaks_at: int | None = None) -> None:
        self.logged: list[dict[str, Any]] = []
        self.metrics: list[tuple[str, str | None]] = []
        self.summary: dict[str, Any] = {}
        self.finished = 0
        self._breaks_at = breaks_at

    def define_metric(self, name: str, step_metric: str | None = None) -> None:
        self.metrics.append((name, step_metric))

    def log(self, payload: dict[str, Any]) -> None:
        if len(self.logged) == self._breaks_at:
            raise ConnectionResetError("Connection lost")
        self.logged.append(payload)

    def finish(self) -> None:
        self.finished += 1


@pytest.fixture(autouse=True)
def _small_pictures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Pictures have their own tests and take a second."""

    def write_pictures(trials: Sequence[Trial], folder: Path) -> list[Path]:
        path = folder / "reward.png"
        Image.new("RGB", (8, 4), "white").save(path)
        return [path, folder / "best_cell.svg"]

    monkeypatch.setattr(wandb_logger, "write_pictures", write_pictures)


def drive(listener: SearchListener, trials: list[Trial], known: int = 0) -> None:
    listener.on_start(trials[:known], Budget(len(trials)))
    for i, trial in enumerate(trials[known:], known):
        listener.on_trial_start(trial)
        listener.on_epoch(trial, 1, 2, 0.25)
        listener.on_trial_end(trial, trials[: i + 1], {"kl": 0.01})
    listener.on_end(trials)


def test_one_log_call_a_candidate_then_the_report(make_trials: MakeTrials) -> None:
    run, trials = FakeRun(), make_trials(9)
    drive(WandbListener(run), trials)
    assert run.metrics == [("candidate", None), ("search/*", "candidate")]
    *candidates, report = run.logged
    assert [payload["candidate"] for payload in candidates] == list(range(9))
    for payload, trial in zip(candidates, trials, strict=True):
        assert payload.get("search/reward") == (trial.evaluation.score if trial.evaluation else None)
        assert payload["search/strategy/kl"] == 0.01
        assert all(key == "candidate" or key.startswith("search/") for key in payload)
    assert sorted(report) == ["report/best_cells", "report/reward"]
    assert isinstance(report["report/reward"], wandb.Image)
    scores = [t.evaluation.score for t in trials if t.evaluation and t.reused_from is None]
    table = report["report/best_cells"]
    assert [row[table.columns.index("score")] for row in table.data] == sorted(scores, reverse=True)
    assert run.finished == 1


def test_a_continued_search_is_logged_from_its_beginning(make_trials: MakeTrials) -> None:
    run = FakeRun()
    drive(WandbListener(run), make_trials(4), known=2)
    assert [payload["candidate"] for payload in run.logged[:-1]] == [0, 1, 2, 3]


def test_a_lost_connection_costs_one_warning(make_trials: MakeTrials, caplog: pytest.LogCaptureFixture) -> None:
    run = FakeRun(breaks_at=2)
    with caplog.at_level(logging.WARNING):
        drive(WandbListener(run), make_trials(6))
    assert [payload["candidate"] for payload in run.logged] == [0, 1]
    assert caplog.messages == ["W&B logging ends here, the work goes on: Connection lost"]


def test_the_run_is_finished_when_the_search_breaks() -> None:
    run = FakeRun()

    def broken_search() -> None:
        with WandbListener(run) as listener:
            listener.on_start([], Budget(3))
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        broken_search()
    assert run.finished == 1


@pytest.mark.parametrize(
    ("mode", "env", "broken", "expected"),
    [
        ("auto", {}, (), ["offline"]),
        ("auto", {"WANDB_API_KEY": "k"}, (), ["online"]),
        ("auto", {"WANDB_API_KEY": "k", "WANDB_MODE": "disabled"}, (), ["disabled"]),
        ("auto", {"WANDB_API_KEY": "k"}, ("online",), ["online", "offline"]),
        ("online", {}, ("online", "offline"), ["online", "offline", "disabled"]),
        ("offline", {"WANDB_API_KEY": "k", "WANDB_MODE": "online"}, (), ["offline"]),
    ],
)
def test_modes_and_their_fall_backs(
    mode: Any,
    env: Mapping[str, str],
    broken: tuple[str, ...],
    expected: list[str],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name in ("WANDB_API_KEY", "WANDB_MODE", "WANDB_IDENTITY_TOKEN_FILE", "WANDB_BASE_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
    for name, value in env.items():
        monkeypatch.setenv(name, value)
    tried = []

    def init(**arguments: Any) -> object:
        tried.append(arguments["mode"])
        if arguments["mode"] in broken:
            raise wandb.errors.CommError("no route to host\nand a second line")
        return types.SimpleNamespace(**arguments)

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr(wandb, "setup", lambda settings: None)
    monkeypatch.setattr(socket, "create_connection", lambda address, timeout: io.BytesIO())
    with caplog.at_level(logging.WARNING):
        run = open_wandb(mode, tmp_path / "run", "project", "name", {"seed": 1, "api_key": "x"}, group="sweep")
    assert tried == expected
    assert len(caplog.messages) == (len(expected) > 1)
    assert all(message.endswith("no route to host") for message in caplog.messages)
    assert run.config == {"seed": 1, "api_key": "(left out)"}
    assert (run.group, run.settings.silent) == ("sweep", True)
    assert (run.settings.init_timeout == 20.0) == (expected[-1] == "online")


_READ_BY_WANDB = sorted(set(wandb.Settings.model_fields) & {
    "console", "disable_git", "finish_timeout", "init_timeout", "mode", "quiet", "resume", "save_code", "show_errors",
    "silent", "start_method", "strict", "symlink", "sync_tensorboard", "reinit", "insecure_disable_ssl",
    "x_disable_meta", "x_disable_stats", "x_log_level", "x_service_wait", "x_stats_sampling_interval",
})  # fmt: skip
RUBBISH = [
    ("WANDB_MODE", "foo"),
    ("WANDB_API_KEY", "0123456789abcdef0123456789abcdef01234567\n"),
    ("WANDB_BASE_URL", "http://[::1"),
    ("WANDB_BASE_URL", "no address"),
    ("WANDB_BASE_URL", "http://host:port"),
    ("WANDB_SILENT", "maybe"),
    ("WANDB_RUN_ID", "a/b"),
    ("WANDB_PROJECT", "a/b"),
    ("WANDB_RUN_TAGS", "x" * 65),
    *(
        (f"WANDB_{name.replace('x_', '_', 1) if name.startswith('x_') else name}".upper(), "\u2603")
        for name in _READ_BY_WANDB
    ),
]


@pytest.fixture
def no_wandb_variables(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in list(os.environ):
        if name.startswith("WANDB_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))


@pytest.mark.parametrize(("name", "value"), RUBBISH)
@pytest.mark.usefixtures("no_wandb_variables")
def test_a_variable_that_wandb_refuses_costs_one_warning(
    name: str, value: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Online there would be a key; a bad name of a server is no reason to send anything to another one."""
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    monkeypatch.setenv(name, value)
    seen = []

    def init(**arguments: Any) -> object:
        wandb.Settings().update_from_env_vars(dict(os.environ))
        seen.append(arguments["mode"])
        return FakeRun()

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr(wandb, "setup", lambda settings: wandb.Settings().update_from_env_vars(dict(os.environ)))
    run = open_wandb("auto", tmp_path / "run", "project", "name", {})
    assert isinstance(run, FakeRun)
    assert seen == ["offline"]
    assert caplog.messages == [f"W&B run is offline, the work goes on: {name}: found a value that W&B does not accept"]


@pytest.mark.parametrize("empty", ["", " "])
@pytest.mark.parametrize(
    ("names", "mode"),
    [
        (["WANDB_MODE"], "online"),
        (["WANDB_BASE_URL"], "online"),
        (["WANDB_SILENT", "WANDB_RUN_ID", "WANDB_PROJECT", "WANDB_RUN_TAGS", "WANDB_START_METHOD"], "online"),
        (["WANDB_IDENTITY_TOKEN_FILE", "WANDB_DIR", "WANDB_ENTITY"], "online"),
        (["WANDB_API_KEY"], "offline"),
        (["WANDB_API_KEY", "WANDB_IDENTITY_TOKEN_FILE"], "offline"),
    ],
)
@pytest.mark.usefixtures("no_wandb_variables")
def test_an_empty_variable_is_as_good_as_none(
    names: list[str],
    mode: str,
    empty: str,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0" * 40)
    for name in names:
        monkeypatch.setenv(name, empty)
    seen = []

    def init(**arguments: Any) -> object:
        seen.append((arguments["mode"], sorted(set(names) & set(os.environ))))
        return FakeRun()

    monkeypatch.setattr(wandb, "init", init)
    monkeypatch.setattr(wandb, "setup", lambda settings: None)
    monkeypatch.setattr(socket, "create_connection", lambda address, timeout: io.BytesIO())
    assert isinstance(open_wandb("auto", tmp_path / "run", "project", "name", {}), FakeRun)
    assert seen == [(mode, [])]
    assert caplog.messages == []


@pytest.mark.parametrize(
    "error",
    [
        wandb.errors.UsageError("bad"),
        wandb.errors.CommError("bad"),
        ValueError("bad"),
        UnicodeDecodeError("utf-8", b"x", 0, 1, "bad"),
        PermissionError(13, "bad"),
        TimeoutError("bad"),
        configparser.ParsingError("bad"),
        netrc.NetrcParseError("bad"),
    ],
)
@pytest.mark.usefixtures("no_wandb_variables")
def test_what_opens_in_no_mode_logs_nothing(
    error: Exception,
    make_trials: MakeTrials,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    def setup(settings: object) -> None:
        raise error

    monkeypatch.setattr(wandb, "setup", setup)
    run = open_wandb("offline", tmp_path / "run", "project", "name", {})
    drive(WandbListener(run), make_trials(3))
    with FitLogger(run) as logger:
        logger.on_epoch("cell", 1, {"loss": 1.0})
        logger.on_end(HAND_WRITTEN["gated_warp"], {"miou": 0.5})
    with EvaluationLogger(run) as evaluation:
        evaluation.log([], {})
    (message,) = caplog.messages
    assert message.startswith("W&B run cannot be opened, the work goes on without: ")


@pytest.mark.parametrize("method", ["define_metric", "log", "finish"])
def test_what_fails_later_costs_one_warning(
    method: str, make_trials: MakeTrials, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken(*arguments: object, **options: object) -> None:
        raise ValueError("bad\nand more")

    run = FakeRun()
    monkeypatch.setattr(run, method, broken)
    with WandbListener(run) as listener:
        drive(listener, make_trials(3))
    assert caplog.messages == ["W&B logging ends here, the work goes on: bad"]


def test_a_mistake_of_ours_keeps_its_traceback(make_trials: MakeTrials, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(trials: object, folder: object) -> None:
        raise ValueError("ours")

    monkeypatch.setattr(wandb_logger, "write_pictures", broken)
    with pytest.raises(ValueError, match="ours"):
        drive(WandbListener(FakeRun()), make_trials(3))


@pytest.mark.parametrize("content", [b"\xff\xfe\x00", b"machine", b"\x00" * 99])
def test_a_netrc_file_that_is_no_text_has_no_credentials(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "netrc").write_bytes(content)
    assert not has_credentials({"NETRC": str(tmp_path / "netrc")})
    assert not has_credentials({"NETRC": str(tmp_path / "netrc"), "WANDB_BASE_URL": "http://[::1"})


def test_credentials_in_the_netrc_file_are_those_of_the_server(tmp_path: Path) -> None:
    path = tmp_path / "netrc"
    path.write_text("machine api.wandb.ai login user password 0123\n")
    assert has_credentials({"NETRC": str(path)})
    assert not has_credentials({"NETRC": str(path), "WANDB_BASE_URL": "https://wandb.example.org"})
    path.write_text("no netrc at all")
    assert not has_credentials({"NETRC": str(path)})
    assert not has_credentials({"NETRC": str(tmp_path / "missing")})


def test_secrets_are_left_out_at_any_depth() -> None:
    config = {
        "seed": 1,
        "logger": {"API_KEY": "x", "name": "wandb"},
        "feedback": "token",
        "db": {"password": "y"},
    }
    cleaned = without_secrets(config)
    assert cleaned == {
        "seed": 1,
        "logger": {"API_KEY": "(left out)", "name": "wandb"},
        "feedback": "token",
        "db": {"password": "(left out)"},
    }


def test_an_offline_run_is_on_disk(make_trials: MakeTrials, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    run = open_wandb("offline", tmp_path, "project", "name", {"strategy": "ppo"})
    with WandbListener(run) as listener:
        drive(listener, make_trials(3))
    wandb.teardown()  # on a busy machine its process still writes
    (written,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    content = written.read_bytes()
    for name in (
        b"search/reward",
        b"search/strategy/kl",
        b"search/input/earlier_layer",
        b"report/best_cells",
    ):
        assert name in content
    assert len(list(tmp_path.glob("wandb/offline-run-*/files/media/images/report/*.png"))) == 1
    check_folder(tmp_path, to_write=True)  # what W&B has linked is no reason to refuse the run
    assert capfd.readouterr() == ("", "")  # no adverts between the lines of the live view


def test_a_training_is_logged_on_one_axis_a_stage() -> None:
    run = FakeRun()
    with FitLogger(run) as logger:
        logger.on_epoch("cell alone", 1, {"train/loss": 2.0})
        logger.on_epoch("cell alone", 2, {"train/loss": 1.0})
        logger.on_epoch("end to end", 1, {"train/loss": 0.5, "val/miou": 0.25})
        logger.on_end(HAND_WRITTEN["gated_warp"], {"val/miou": 0.25})
    assert run.metrics == [
        ("cell alone/epoch", None),
        ("cell alone/*", "cell alone/epoch"),
        ("end to end/epoch", None),
        ("end to end/*", "end to end/epoch"),
    ]
    *epochs, drawing = run.logged
    assert epochs == [
        {"cell alone/epoch": 1, "cell alone/train/loss": 2.0},
        {"cell alone/epoch": 2, "cell alone/train/loss": 1.0},
        {"end to end/epoch": 1, "end to end/train/loss": 0.5, "end to end/val/miou": 0.25},
    ]
    assert isinstance(drawing["report/cell"], wandb.Image)
    assert run.summary == {"val/miou": 0.25}
    assert run.finished == 1


def evaluated(
    group: str, checkpoint: str | None, scores: SegmentationScores, rolling: dict[str, RollingScores] | None = None
) -> EvaluationRow:
    return EvaluationRow(
        genotype=None,
        expression="",
        past=None,
        flow=None,
        name="0",
        group=group,
        seed=None if checkpoint is None else 1,
        recipe=None,
        trained_with=None,
        checkpoint=checkpoint,
        parameters=9,
        cell_parameters=0,
        macs=0,
        pair=scores,
        rolling=rolling or {},
        consistency={},
    )


def test_an_evaluation_is_a_table_with_pictures(tmp_path: Path) -> None:
    run, picture = FakeRun(), tmp_path / "confusion.png"
    Image.new("RGB", (8, 4), "white").save(picture)

    def scores(miou: float) -> SegmentationScores:
        return SegmentationScores(miou=miou, fwiou=0.6, macc=0.7, score=0.59, iou_per_class=(0.5,))

    rolled = RollingScores(**dict(scores(0.4)), by_distance=(), average=None, minimum=None)
    rows = [
        evaluated("static", None, scores(0.5)),
        evaluated("static, fine-tuned", "sweep/0/video.safetensors", scores(0.51)),
        evaluated("static, fine-tuned", "sweep/1/video.safetensors", scores(0.5)),
        evaluated("mine", "sweep/0/video.safetensors", scores(0.52), {"5": rolled}),
        evaluated("mine", "sweep/1/video.safetensors", scores(0.53)),
    ]
    with EvaluationLogger(run) as logger:
        logger.log(rows, {"confusion": picture})
    (logged,) = run.logged
    assert logged["evaluation/rows"].data == [
        ["static", None, None, 9, 0.5, 0.6, 0.7, 0.59, None],
        ["static, fine-tuned", "sweep/0", 1, 9, 0.51, 0.6, 0.7, 0.59, None],
        ["static, fine-tuned", "sweep/1", 1, 9, 0.5, 0.6, 0.7, 0.59, None],
        ["mine", "sweep/0", 1, 9, 0.52, 0.6, 0.7, 0.59, 0.4],
        ["mine", "sweep/1", 1, 9, 0.53, 0.6, 0.7, 0.59, None],
    ]
    assert isinstance(logged["evaluation/confusion"], wandb.Image)
    assert len(run.summary) == 5 * 4  # no key takes the place of another
    assert {key: value for key, value in run.summary.items() if key.endswith("/miou")} == {
        "static/miou": 0.5,
        "static, fine-tuned/sweep/0/miou": 0.51,
        "static, fine-tuned/sweep/1/miou": 0.5,
        "mine/sweep/0/miou": 0.52,
        "mine/sweep/1/miou": 0.53,
    }
    assert run.finished == 1
