"""Exit statuses and messages of commands whose standard streams are closed, full, without a reader, or narrow."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from rich.console import Console

from vseg_nas.runs.signals import PIPE_CLOSED
from vseg_nas.runs.streams import lost_output

MISTAKE = "error: bogus: no such key; see --help for the keys\n"


def run(redirected: str, *arguments: str, folder: Path, **environment: str) -> tuple[int, str, str]:
    """Status, output and errors of a command under a redirection of the shell."""
    line = f'exec "$0" -m vseg_nas.search "$@" {redirected}'
    done = subprocess.run(
        ["sh", "-c", line, sys.executable, *arguments],
        cwd=folder,
        env={**os.environ, **environment},
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=False,
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("redirected", "said"),
    [
        ("2>&-", ""),
        ("<&- >&- 2>&-", ""),
        ("2>/dev/full", ""),
        (">/dev/full", MISTAKE),
    ],
)
def test_a_mistake_ends_in_status_2_whatever_the_streams_are(tmp_path: Path, redirected: str, said: str) -> None:
    assert run(redirected, "bogus=1", folder=tmp_path) == (2, "", said)
    assert list(tmp_path.iterdir()) == []


def test_output_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    full = "error: standard output: cannot be written (No space left on device)\n"
    assert run(">/dev/full", "--help", folder=tmp_path) == (2, "", full)
    assert run(">&-", "--help", folder=tmp_path) == (0, "", "")


@pytest.mark.parametrize("buffered", ["", "1"])
def test_a_reader_that_has_gone_is_one_line_and_a_status_of_its_own(tmp_path: Path, buffered: str) -> None:
    read, write = os.pipe()
    os.close(read)
    command = [sys.executable, "-m", "vseg_nas.search", "--help"]
    environment = {**os.environ, "PYTHONUNBUFFERED": buffered}
    done = subprocess.run(
        command, cwd=tmp_path, env=environment, stdout=write, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write)
    assert (done.returncode, done.stderr) == (PIPE_CLOSED, "error: standard output: cannot be written (Broken pipe)\n")


def test_what_rich_makes_of_a_reader_that_has_gone_is_known() -> None:
    read, write = os.pipe()
    os.close(read)
    console = Console(file=os.fdopen(write, "w"))
    stdout = os.dup(1)  # Rich puts /dev/null there
    try:
        with pytest.raises(SystemExit) as ended:
            console.print("Searching")
    finally:
        os.dup2(stdout, 1)
        os.close(stdout)
    assert isinstance(lost_output(ended.value), BrokenPipeError)
    assert lost_output(SystemExit(1)) is None
    assert lost_output(OSError(28, "No space left on device", "a file of a run")) is None


STREAMS = """
import os, sys
from vseg_nas.runs.streams import open_missing_streams
open_missing_streams()
print("20 × 30 \\udcff")
print("seen", file=sys.stderr)
mine = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
os.write(1, b"from a library")
os.write(2, b"from a library")
sys.exit(mine)
"""


@pytest.mark.parametrize("redirected", [">&-", "2>&-", "<&- >&- 2>&-"])
def test_no_file_takes_the_number_of_a_closed_stream(tmp_path: Path, redirected: str) -> None:
    line = f'"$0" -c "$1" "$2" {redirected}'
    done = subprocess.run(["sh", "-c", line, sys.executable, STREAMS, str(tmp_path / "file")], check=False)
    assert done.returncode >= 3
    assert (tmp_path / "file").read_bytes() == b""


@pytest.mark.parametrize(
    ("encoding", "printed"),
    [("ascii", b"20 \\xd7 30 \\udcff"), ("utf-8", "20 × 30 \\udcff".encode()), ("latin-1", b"20 \xd7 30 \\udcff")],
)
def test_what_an_encoding_lacks_is_escaped(tmp_path: Path, encoding: str, printed: bytes) -> None:
    environment = {**os.environ, "PYTHONIOENCODING": encoding}
    command = [sys.executable, "-c", STREAMS, str(tmp_path / "file")]
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert done.stdout.splitlines()[0] == printed
    assert done.stderr.splitlines()[0] == b"seen"
