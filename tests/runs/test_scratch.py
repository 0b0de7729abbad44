"""Folders of living processes stay, those of killed ones do not."""

import errno
import fcntl
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from vseg_nas.runs.scratch import scratch

OWNER = """
import sys
from vseg_nas.runs.scratch import scratch
with scratch("ours-", sys.argv[1]) as folder:
    (folder / "file").touch()
    print(folder, flush=True)
    sys.stdin.read()
"""


def test_a_folder_is_there_as_long_as_it_is_used(tmp_path: Path) -> None:
    with scratch("ours-", str(tmp_path)) as folder:
        (folder / "file").touch()
        assert folder.name.startswith("ours-")
        assert list(tmp_path.iterdir()) == [folder]
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_left_where_nothing_can_be_locked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*args: int) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    with pytest.raises(OSError, match="No locks"), scratch("ours-", str(tmp_path)):
        pass
    assert list(tmp_path.iterdir()) == []


def test_only_folders_of_dead_processes_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ours-is-a-run-directory", "theirs-1"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "lock").touch()
    foreign = set(tmp_path.iterdir())
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        folder = Path(owner.stdout.readline().strip())
        with scratch("ours-", str(tmp_path)) as living, scratch("ours-", str(tmp_path)) as another:
            assert set(tmp_path.iterdir()) == foreign | {folder, living, another}
            assert (folder / "file").exists()
        os.kill(owner.pid, signal.SIGKILL)
    assert set(tmp_path.iterdir()) == foreign | {folder}
    for module, name, other in ((os, "getuid", -1), (socket, "gethostname", "another")):  # another user's, or machine's
        with monkeypatch.context() as patch:
            patch.setattr(module, name, lambda other=other: other)
            with scratch("ours-", str(tmp_path)) as living:
                assert set(tmp_path.iterdir()) == foreign | {folder, living}
    with scratch("ours-", str(tmp_path)) as living:
        assert set(tmp_path.iterdir()) == foreign | {living}
    assert set(tmp_path.iterdir()) == foreign
