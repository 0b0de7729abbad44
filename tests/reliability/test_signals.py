"""Ctrl-C and the signals of schedulers end a search with the right status, soon, and it goes on as if never stopped."""

import os
import signal
import time
from contextlib import suppress
from pathlib import Path

import pytest

import vseg_nas.search
from tests.builders import TINY
from tests.fixtures import Figure, InProcess
from tests.processes import found_by, in_fork
from vseg_nas.errors import DataError
from vseg_nas.runs.signals import Terminated, stopping


@stopping()
def send(number: int) -> None:
    os.kill(os.getpid(), number)
    time.sleep(1)


@pytest.mark.long
@pytest.mark.parametrize(
    "signals", [4, pytest.param(80, marks=[pytest.mark.slow, pytest.mark.timeout(1800)])], ids=["some", "all"]
)
def test_signals(tmp_path: Path, signals: int, figure: Figure) -> None:
    """Under Slurm's variables, with a checkpoint lying about that Lightning would resume from."""
    slurm = {"SLURM_JOB_ID": "7", "SLURM_NTASKS": "4", "SLURM_JOB_NAME": "search", "SLURM_LOCALID": "0"}
    slurm |= {"SLURM_PROCID": "0", "SLURM_NODEID": "0", "SLURM_JOB_NODELIST": "localhost"}
    found = found_by("tests.reliability.signalled_search", str(tmp_path), str(signals), **slurm)
    assert found["delivered"] == signals
    assert found["wrong"] == [], found["output"]
    assert found["differing"] == 0
    assert found["left"] == 0
    assert found["slowest_s"] <= 5
    figure(
        "G11",
        f"{signals} signals under Slurm: statuses right, slowest {found['slowest_s']} s, 0 differences, none left",
    )


@pytest.mark.parametrize(
    ("number", "raised"),
    [
        (signal.SIGINT, KeyboardInterrupt),
        (signal.SIGTERM, Terminated),
        (signal.SIGUSR1, Terminated),
        (signal.SIGHUP, Terminated),
    ],
)
def test_the_first_signal_raises_and_handlers_are_put_back(number: int, raised: type[BaseException]) -> None:
    numbers = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1, signal.SIGHUP)
    before = [signal.getsignal(n) for n in numbers]
    with pytest.raises(raised):
        send(number)
    assert [signal.getsignal(n) for n in numbers] == before


def test_a_hang_up_that_is_ignored_stays_ignored() -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as nohup does
    try:
        with stopping():
            os.kill(os.getpid(), signal.SIGHUP)
        assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def test_a_second_hang_up_is_no_second_wish() -> None:
    """A shell and the kernel both tell that a terminal is closed; the report of a search is written meanwhile."""

    def hang_up_twice() -> None:
        with suppress(Terminated), stopping():
            try:
                os.kill(os.getpid(), signal.SIGHUP)
                time.sleep(1)
            finally:
                os.kill(os.getpid(), signal.SIGHUP)
                time.sleep(0.1)
        os._exit(7)

    assert in_fork(hang_up_twice) == 7


@pytest.mark.parametrize(
    ("number", "status"), [(signal.SIGHUP, 7), (signal.SIGUSR1, 7), (signal.SIGINT, 7), (signal.SIGTERM, 143)]
)
def test_a_forked_process_leaves_signals_of_the_job_to_its_parent(number: int, status: int) -> None:
    """As loaders of clips are forked; SIGTERM is how a parent ends one."""

    def be_signalled() -> None:
        os.kill(os.getpid(), number)
        time.sleep(0.1)
        os._exit(7)

    with stopping():
        assert in_fork(be_signalled) == status


@pytest.mark.parametrize(("number", "raised"), [(signal.SIGINT, KeyboardInterrupt), (signal.SIGTERM, Terminated)])
def test_what_a_library_makes_of_a_signal_is_still_that_signal(number: int, raised: type[BaseException]) -> None:
    def converting() -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(1)
        except BaseException:  # noqa: BLE001  (as pybind11's type casters do)
            message = "Invalid bounding box"
            raise ValueError(message) from None

    with pytest.raises(raised), stopping():
        converting()
    with pytest.raises(ValueError, match="our bug"), stopping():
        raise ValueError("our bug")


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_a_signal_that_looks_like_the_user_s_mistake_is_still_that_signal(
    in_process: InProcess, monkeypatch: pytest.MonkeyPatch, number: int, status: int
) -> None:
    def ensure(*arguments: object) -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(1)
        except BaseException as error:
            raise DataError("weights: damaged") from error

    monkeypatch.setattr(vseg_nas.search, "ensure_static", ensure)
    found, _, err = in_process(vseg_nas.search.main, *TINY, "phase.search.trials=1")
    assert found == status, err
    assert err.startswith(
        "error: interrupted" if number == signal.SIGINT else f"error: terminated by {signal.Signals(number).name}"
    )


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_the_second_signal_ends_the_process_whatever_it_is_doing(number: int, status: int) -> None:
    def be_signalled_twice() -> None:
        with stopping():
            try:
                os.kill(os.getpid(), number)
                time.sleep(1)
            except (KeyboardInterrupt, Terminated):
                os.kill(os.getpid(), number)
                time.sleep(1)

    assert in_fork(be_signalled_twice) == status
