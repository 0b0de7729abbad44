"""Time in which a process is suspended is not counted, and all other time is."""

import json
import os
import signal
import time
from collections.abc import Callable

import pytest

from vseg_nas import clock
from vseg_nas.clock import working_s


def seconds_of(part: Callable[[], None]) -> tuple[float, float]:
    """Of the clock, and of the wall."""
    began, began_working = time.monotonic(), working_s()
    part()
    return working_s() - began_working, time.monotonic() - began


def compute() -> None:
    """Half a second in which nobody reads the clock."""
    until = time.thread_time() + 0.5
    while time.thread_time() < until:
        sum(range(1000))


def wait_in_steps() -> None:
    for _ in range(30):
        time.sleep(0.1)


@pytest.mark.parametrize("part", [lambda: time.sleep(1.5), compute], ids=["waiting", "computing"])
def test_time_at_work_counts(part: Callable[[], None]) -> None:
    working, wall = seconds_of(part)
    assert wall >= 0.5
    assert working == pytest.approx(wall, abs=0.05)


@pytest.mark.long
@pytest.mark.parametrize("suspensions", [1, 2])
def test_time_of_suspension_does_not_count(suspensions: int) -> None:
    """Also in a fork of a process whose clock runs already."""
    working_s()
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        os.write(write, json.dumps(seconds_of(wait_in_steps)).encode())
        os._exit(0)
    for _ in range(suspensions):
        time.sleep(0.5)
        os.kill(child, signal.SIGSTOP)
        time.sleep(2.5)
        os.kill(child, signal.SIGCONT)
    working, wall = json.loads(os.read(read, 100))
    os.waitpid(child, 0)
    os.close(read)
    os.close(write)
    assert wall > 2.5 * suspensions
    assert wall - working >= 1.4 * suspensions  # a suspension counts a second at most
    assert working >= 0.5 * suspensions


@pytest.mark.parametrize(("jump", "counted"), [(100.0, clock._LONGEST_STEP_S), (0.5, 0.5), (0.0, 0.0)])
def test_a_jump_counts_as_a_second_at_most(monkeypatch: pytest.MonkeyPatch, jump: float, counted: float) -> None:
    now = time.monotonic()
    monkeypatch.setattr(time, "monotonic", lambda: now)
    began = working_s()
    monkeypatch.setattr(time, "monotonic", lambda: now + jump)
    assert working_s() - began == pytest.approx(counted)
