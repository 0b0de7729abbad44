"""Run by test_full_disk.py: real searches on a disk that is full from their k-th write on, and how they ended as JSON.

A write is a file opened to be written, renamed or flushed, a folder made, or a statement that changes the store.
"""

import errno
import json
import os
import sqlite3
import sys
from pathlib import Path
from typing import Any

from tests.builders import TINY, history
from tests.reliability.forked import RUNS, start, wait

ARGUMENTS = [*TINY, "phase.search.trials=3"]
NEVER = 10**9


class Disk:
    """Counts what this process writes below a folder, and is full once it has taken ``room`` writes."""

    def __init__(self, folder: Path, room: int) -> None:
        self.folder = str(folder)
        self.room = room
        self.written = 0

    def insert(self) -> None:
        sys.addaudithook(self.hear)
        fsync, connect, disk = os.fsync, sqlite3.connect, self

        def full_fsync(descriptor: int) -> None:
            self.take()
            fsync(descriptor)

        class Connection(sqlite3.Connection):
            def execute(self, sql: str, *parameters: Any) -> sqlite3.Cursor:
                if sql.startswith(("INSERT", "UPDATE", "COMMIT")) and disk.full():
                    raise sqlite3.OperationalError("database or disk is full")
                return super().execute(sql, *parameters)

        def full_connect(*args: Any, **options: Any) -> sqlite3.Connection:
            made: sqlite3.Connection = connect(*args, factory=Connection, **options)
            return made

        os.fsync = full_fsync  # type: ignore[assignment]
        sqlite3.connect = full_connect  # type: ignore[assignment]

    def hear(self, event: str, args: tuple[Any, ...]) -> None:
        writes = event == "open" and args[2] is not None and args[2] & (os.O_WRONLY | os.O_RDWR)
        if writes or event in ("os.rename", "os.mkdir"):
            path = os.path.abspath(os.fspath(args[0])) if isinstance(args[0], (str, os.PathLike)) else ""
            if path.startswith(self.folder):
                self.take()

    def take(self) -> None:
        if self.full():
            raise OSError(errno.ENOSPC, "No space left on device")

    def full(self) -> bool:
        self.written += 1
        return self.written > self.room


def search(folder: Path, room: int, *overrides: str) -> tuple[int, str, int]:
    """Exit status, standard error and number of writes of a search in a child."""
    out, err = os.pipe()
    disk = Disk(folder, room)

    def prepare() -> None:
        os.close(out)
        os.dup2(err, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        disk.insert()

    child = start(prepare, *overrides, after=lambda: _say(disk.written))
    os.close(err)
    with os.fdopen(out) as stream:
        text, _, written = stream.read().rpartition("\n")
    return wait(child), text.strip(), int(written)


def _say(written: int) -> None:
    os.write(2, f"\n{written}".encode())


def main() -> None:
    folder, step = Path(sys.argv[1]), int(sys.argv[2])
    os.chdir(folder)
    # the first one makes the static network and the cache
    status, text, from_nothing = search(folder, NEVER, *ARGUMENTS, "phase.search.trials=1", "name=first")
    assert status == 0, text
    status, text, writes = search(folder, NEVER, *ARGUMENTS, "name=whole")
    assert status == 0, text
    expected = history(RUNS / "whole")
    wrong, differing = [], 0
    for room in range(0, writes, step):
        run = RUNS / f"full{room}"
        status, text, _ = search(folder, room, *ARGUMENTS, f"name={run.name}")
        lines = [line for line in text.splitlines() if line.startswith("error: ")]
        if status != 2 or len(lines) != 1 or "Traceback" in text or ("space" not in text and "full" not in text):
            wrong.append([room, status, text[-700:]])
        again = [f"resume={run}"] if (run / "config.yaml").is_file() else [*ARGUMENTS, f"name={run.name}"]
        status, text, _ = search(folder, NEVER, *again)
        if status != 0:
            wrong.append([room, "again", text[-700:]])
        else:
            differing += history(run) != expected
    result = {"from_nothing": from_nothing, "writes": writes, "searches": len(range(0, writes, step)), "wrong": wrong}
    sys.stdout.write(json.dumps(result | {"differing": differing}))
