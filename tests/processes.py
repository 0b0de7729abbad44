"""Processes that tests start: commands and scripts, forks, and how tests wait for them.

A new interpreter takes seconds to import torch, Lightning and Hydra. `start` and `run` take a fork of one that has
imported them (tests/warm.py), which each process of pytest starts when it first needs it; everything else about them
is as in `subprocess`. A test of what happens while an interpreter starts (which modules are imported, which variables
are read, which streams are closed) has to use `sys.executable`.
"""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import subprocess
import sys
import time
import traceback
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any

import psutil

ROOT = Path(__file__).parents[1]
PIPE = subprocess.PIPE
Stream = int | IO[Any] | None
_PR_SET_CHILD_SUBREAPER = 36
_INHERITED = -1


class _WarmInterpreter:
    """An interpreter with everything imported, which makes forks on request: see tests/warm.py."""

    def __init__(self) -> None:
        self._link, theirs = socket.socketpair()
        self.owner = os.getpid()
        with theirs:
            subprocess.Popen(
                [sys.executable, "-m", "tests.warm", str(theirs.fileno())],
                cwd=ROOT,
                env={**os.environ, "OMP_NUM_THREADS": "1"},
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                process_group=0,  # a signal to the group of pytest reaches the forks alone
            )

    def fork(self, request: dict[str, Any], streams: list[int]) -> int:
        """Has a process made that becomes a child of this one, and returns its id.

        The fork's parent ends at once. A process that has lost its parent becomes a child of the nearest one above it
        that is a subreaper, which this process is for as long as that takes.
        """
        prctl = ctypes.CDLL(None).prctl
        prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
        try:
            message = json.dumps(request).encode()
            socket.send_fds(self._link, [len(message).to_bytes(8, "big")], streams)
            self._link.sendall(message)
            answer = self._link.recv(8, socket.MSG_WAITALL)
        finally:
            prctl(_PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)
        assert len(answer) == 8, "the warm interpreter has ended"
        return int.from_bytes(answer, "big")


_warm_interpreters: list[_WarmInterpreter] = []


def _warm_interpreter() -> _WarmInterpreter:
    """The one of this process; a fork of pytest does not share its parent's."""
    if not _warm_interpreters or _warm_interpreters[-1].owner != os.getpid():
        _warm_interpreters.append(_WarmInterpreter())
    return _warm_interpreters[-1]


class WarmProcess(subprocess.Popen[str]):
    """A fork of the warm interpreter, with the interface of `subprocess.Popen`."""

    def _execute_child(
        self, args: list[str], executable: Any, preexec_fn: Any, close_fds: Any, pass_fds: Any, cwd: Any, env: Any,
        startupinfo: Any, creationflags: Any, shell: Any, p2cread: int, p2cwrite: int, c2pread: int, c2pwrite: int,
        errread: int, errwrite: int, restore_signals: Any, gid: Any, gids: Any, uid: Any, umask: Any,
        start_new_session: bool, process_group: Any,
    ) -> None:  # fmt: skip
        request = {
            "arguments": args,
            "folder": os.fspath(cwd or Path.cwd()),
            "environment": env,
            "group": None if start_new_session else os.getpgrp(),
        }
        given = {0: p2cread, 1: c2pwrite, 2: errwrite}
        streams = [number if stream == _INHERITED else stream for number, stream in given.items()]
        try:
            self.pid = _warm_interpreter().fork(request, streams)
            self._child_created = True
        finally:
            self._close_pipe_fds(p2cread, p2cwrite, c2pread, c2pwrite, errread, errwrite)  # type: ignore[attr-defined]


def start(
    what: str,
    *arguments: str,
    cwd: Path | None = None,
    stdin: Stream = None,
    stdout: Stream = None,
    stderr: Stream = None,
    start_new_session: bool = False,
    environment: Mapping[str, str] | None = None,
) -> WarmProcess:
    """A process that runs the ``main`` function of a module, or a script.

    Args:
        what: The name of the module, such as ``vseg_nas.search``, or the text of a script of several lines.
        *arguments: The arguments of its command line.
        cwd: Its current folder; None: the one of this process.
        stdin: As in `subprocess.Popen`.
        stdout: As in `subprocess.Popen`.
        stderr: As in `subprocess.Popen`.
        start_new_session: As in `subprocess.Popen`.
        environment: Variables that it has besides those of this process.
    """
    return WarmProcess(
        [what, *arguments],
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=start_new_session,
        text=True,
    )


def run(
    what: str, *arguments: str, cwd: Path | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """Runs a module or a script to its end, see `start`; its status, output and errors."""
    process = start(
        what, *arguments, cwd=cwd, environment=environment, stdin=subprocess.DEVNULL, stdout=PIPE, stderr=PIPE
    )
    with process:
        out, err = process.communicate()
    return subprocess.CompletedProcess(process.args, process.returncode, out, err)


def found_by(module: str, *arguments: str, **environment: str) -> Any:
    """What a script of the tests finds, which it writes as JSON to its standard output."""
    done = run(module, *arguments, cwd=ROOT, environment=environment)
    assert done.returncode == 0, done.stderr[-3000:]
    return json.loads(done.stdout)


def in_fork(act: Callable[[], object], seconds: float = 120) -> int:
    """The exit status of a fork of this process in which `act` is called: 0 if it returns; negative: the signal.

    Args:
        act: What the fork does.
        seconds: After which it is killed, as it hangs.
    """
    child = os.fork()
    if child == 0:
        status = 99
        try:
            act()
            status = 0
        except SystemExit as end:
            status = int(end.code or 0)
        finally:
            if status == 99:
                traceback.print_exc()
            os._exit(status)
    return status_of(child, seconds)


def status_of(child: int, seconds: float = 120) -> int:
    """The exit status of a child that ends in time; one that does not is killed."""
    deadline = time.monotonic() + seconds
    while not (ended := os.waitpid(child, os.WNOHANG))[0]:
        if time.monotonic() > deadline:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
            raise AssertionError("the forked process hangs")
        time.sleep(0.005)
    return os.waitstatus_to_exitcode(ended[1])


def wait_until(
    condition: Callable[[], object], process: subprocess.Popen[Any] | None = None, seconds: float = 200
) -> None:
    """Waits until a condition holds, for as long as a process lives that is to bring it about."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert process is None or process.poll() is None, process.args
        assert time.monotonic() < deadline, "timed out"
        time.sleep(0.02)


def is_alive(pid: int) -> bool:
    """Whether a process runs; a zombie does not."""
    with suppress(psutil.NoSuchProcess):
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    return False


def left_after(pids: Iterable[int], seconds: float = 5) -> set[int]:
    """Processes that still run after some time; returns as soon as there is none."""
    deadline = time.monotonic() + seconds
    while (left := set(filter(is_alive, pids))) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left
