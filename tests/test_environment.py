"""What the system refuses a command is one line; what only looks like it is our bug, with its traceback."""

import errno
import os
from pathlib import Path

import pytest

import vseg_nas.report
import vseg_nas.search
from tests.builders import TINY
from tests.fixtures import InProcess
from vseg_nas.errors import shortage

NO_MEMORY = "libtorch_cpu.so: failed to map segment from shared object"
REFUSED = {
    "Too many open files": OSError(errno.EMFILE, "Too many open files"),
    "Cannot allocate memory": OSError(errno.ENOMEM, "Cannot allocate memory"),
    "Resource temporarily unavailable": BlockingIOError(errno.EAGAIN, "Resource temporarily unavailable"),  # by fork
    "Unable to allocate 2.00 GiB for an array": MemoryError("Unable to allocate 2.00 GiB for an array"),
    "no more memory": MemoryError(),
    NO_MEMORY: ImportError(NO_MEMORY),
    "can't start new thread": RuntimeError("can't start new thread"),
    "can't allocate memory: you tried to allocate 8": RuntimeError("can't allocate memory: you tried to allocate 8"),
}


@pytest.mark.parametrize("found", REFUSED)
def test_what_the_system_refuses_is_one_line(found: str) -> None:
    line = shortage(REFUSED[found])
    assert line is not None
    assert line.startswith("this process: found ")
    assert f"{found}, expected more memory or higher limits (ulimit -a)" in line


@pytest.mark.parametrize(
    "error", [None, RuntimeError("our bug"), ImportError("no module"), ValueError("can't start new thread"), OSError(5)]
)
def test_other_errors_are_no_shortage(error: BaseException | None) -> None:
    assert shortage(error) is None


def test_a_command_that_runs_out_of_memory_is_one_line(in_process: InProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    def ensure(*arguments: object) -> None:
        raise RuntimeError("[enforce fail at alloc_cpu.cpp:118] DefaultCPUAllocator: can't allocate memory")

    monkeypatch.setattr(vseg_nas.search, "ensure_static", ensure)
    status, _, err = in_process(vseg_nas.search.main, *TINY)
    assert status == 2
    assert err.startswith("error: this process: found [enforce fail")
    assert err.count("\n") == 1


def test_a_removed_current_folder_is_one_line(
    in_process: InProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    found = in_process(vseg_nas.report.main, "run=x")
    os.chdir(tmp_path)
    said = "the current folder: found it removed, expected one that is there; change to it again"
    assert found == (2, "", f"error: {said}\n")
