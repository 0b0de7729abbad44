import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vseg_nas.errors import RunError
from vseg_nas.runs.lock import RunLock

HOLD = """
import pathlib, sys
from vseg_nas.runs.lock import RunLock
with RunLock(pathlib.Path(sys.argv[1])):
    assert "torch" not in sys.modules
    print("held", flush=True)
    sys.stdin.read()
"""


def test_second_writer_is_told_who_the_first_is_until_that_is_killed(tmp_path: Path) -> None:
    command = [sys.executable, "-c", HOLD, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with (
            pytest.raises(RunError, match=rf"in use by process {holder.pid} on .*; a run has one writer"),
            RunLock(tmp_path),
        ):
            pass
        holder.kill()
        holder.wait()
        with RunLock(tmp_path):
            assert f"process {os.getpid()} " in (tmp_path / "lock").read_text()


def test_can_be_taken_again_after_release(tmp_path: Path) -> None:
    for _ in range(2):
        with RunLock(tmp_path), pytest.raises(RunError, match="in use"), RunLock(tmp_path):
            pass


def test_a_forked_worker_does_not_keep_the_lock(tmp_path: Path) -> None:
    here, there = socket.socketpair()
    with RunLock(tmp_path):
        worker = os.fork()
        if worker == 0:
            here.close()
            there.send(b"alive")
            there.recv(1)  # until the parent lets go
            os._exit(0)
        there.close()
        assert here.recv(5) == b"alive"
        with pytest.raises(RunError, match="in use"), RunLock(tmp_path):
            pass  # the worker's copy was closed without unlocking
    with RunLock(tmp_path):
        pass  # the worker is still alive
    here.close()
    os.waitpid(worker, 0)


def test_missing_run_directory(tmp_path: Path) -> None:
    with (
        pytest.raises(RunError, match=r"gone/lock: cannot be created \(No such file or directory\)"),
        RunLock(tmp_path / "gone"),
    ):
        pass
