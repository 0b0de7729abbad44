"""What a trial store may be before a query runs on it: its file, SQLite's journals beside it, and its tables.

A store may be anybody's. SQLite would run what stands in the views, triggers, generated columns and checks of a file,
would delete a file that a journal names, and would go through a huge file for minutes. So files are looked at before
SQLite opens them, and tables have to be exactly ours.
"""

import os
import sqlite3
from contextlib import closing
from functools import cache
from pathlib import Path
from reprlib import repr as brief
from typing import Any

from vseg_nas.errors import RunError
from vseg_nas.runs.files import open_regular

SCHEMA_VERSION = 4
SCHEMA = """
CREATE TABLE meta (schema_version INTEGER NOT NULL);
CREATE TABLE trials (
    id INTEGER PRIMARY KEY, genotype TEXT NOT NULL, key TEXT NOT NULL, seed INTEGER NOT NULL,
    state TEXT NOT NULL, score REAL, miou REAL, fwiou REAL, macc REAL, parameters INTEGER, macs INTEGER,
    seconds REAL, epochs INTEGER, stopped INTEGER, steadiness REAL, cost REAL, penalised REAL,
    reason TEXT, failure TEXT, reused_from INTEGER, failed_reward REAL, attempts INTEGER NOT NULL DEFAULT 0, sha256 TEXT
);
CREATE INDEX trials_by_key ON trials (key);
CREATE INDEX trials_by_score ON trials (score);
CREATE TABLE snapshot (
    id INTEGER PRIMARY KEY CHECK (id = 0), state BLOB NOT NULL, trials INTEGER NOT NULL, sha256 TEXT NOT NULL
);
"""
MAX_BYTES = 2**28
MAX_VALUE_BYTES = 2**26  # the state of a search has at most a few MB
MAX_TRIALS = 100_000
_HEADER_BYTES = 100
_MAGIC = b"SQLite format 3\0"
_ROLLBACK_JOURNAL = b"\x01\x01"  # of bytes 18 and 19 of the header
_SUPER_JOURNAL = bytes.fromhex("d9d505f920a163d7")
"""How a journal ends that names another one: SQLite would delete the file of that name, whatever it is."""
_STEPS, _PARTS = 1000, 100
"""SQLite calls our handler every _STEPS instructions; the _PARTS-th call ends a query on tables not checked yet.

Queries on our own tables take a hundred instructions.
"""

_TABLES = "SELECT type, name, tbl_name, sql FROM sqlite_master"


@cache
def _expected_tables() -> set[tuple[Any, ...]]:
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.executescript(SCHEMA)
        return set(connection.execute(_TABLES))


def check_files(path: Path) -> None:
    """Checks a store, and the journals that SQLite would read with it, before SQLite opens it.

    Raises:
        RunError: A file is not regular, has the wrong size or form, or names another file that SQLite would delete.
    """
    try:
        with os.fdopen(open_regular(path, os.O_RDONLY), "rb") as file:
            size, header = os.fstat(file.fileno()).st_size, file.read(_HEADER_BYTES)
    except OSError as error:
        raise RunError(f"{path}: cannot be read ({error.strerror})") from error
    if size > MAX_BYTES:
        raise RunError(f"{path}: found {size} bytes, expected at most {MAX_BYTES}")
    if size and (len(header) < _HEADER_BYTES or not header.startswith(_MAGIC)):
        raise RunError(f"{path}: file is not a database")
    if size and header[18:20] != _ROLLBACK_JOURNAL:
        raise RunError(f"{path}: found a database of another kind, expected one with a rollback journal")
    for suffix in ("-wal", "-shm"):
        if os.path.lexists(companion := path.with_name(path.name + suffix)):
            raise RunError(f"{companion}: found that, expected a database with a rollback journal alone")
    journal = path.with_name(path.name + "-journal")
    try:
        with os.fdopen(open_regular(journal, os.O_RDONLY), "rb") as file:
            if (length := os.fstat(file.fileno()).st_size) > MAX_BYTES:
                raise RunError(f"{journal}: found {length} bytes, expected at most {MAX_BYTES}")
            head = file.read(28).ljust(28, b"\0")
            pages, page_size = int.from_bytes(head[16:20], "big"), int.from_bytes(head[24:28], "big")
            if pages * page_size > MAX_BYTES:
                raise RunError(
                    f"{journal}: found a database of {pages * page_size} bytes, expected at most {MAX_BYTES}"
                )
            file.seek(max(0, length - len(_SUPER_JOURNAL)))
            if file.read() == _SUPER_JOURNAL:
                raise RunError(f"{journal}: found the name of another journal, expected none")
    except FileNotFoundError:
        pass
    except OSError as error:
        raise RunError(f"{journal}: cannot be read ({error.strerror})") from error


def check_tables(path: Path, connection: sqlite3.Connection) -> None:
    """Refuses other tables, indices, views and triggers than those that `SCHEMA` makes, before anything uses them.

    Args:
        path: The path of the store, for the error message.
        connection: A connection to it.

    Raises:
        RunError: Something else was found; the message says what.
        sqlite3.DatabaseError: The file is no database, or a query on it takes too long.
    """
    parts = iter(range(_PARTS))
    connection.set_progress_handler(lambda: next(parts, None) is None, _STEPS)
    found = {tuple(row) for row in connection.execute(f"{_TABLES} LIMIT 100")}
    expected = _expected_tables()
    if not (meta := {row for row in expected if row[1] == "meta"}) <= found:
        raise RunError(f"{path}: a database, but not a trial store")
    assert len(meta) == 1
    versions = [row[0] for row in connection.execute("SELECT schema_version FROM meta LIMIT 3")]
    if versions != [SCHEMA_VERSION]:
        raise RunError(
            f"{path}: found schema version {', '.join(map(brief, versions)) or 'none'}, expected {SCHEMA_VERSION}"
        )
    if found != expected:
        names = sorted(str(row[1]) for row in found ^ expected)
        raise RunError(f"{path}: found another schema ({brief(names[0])}), expected that of a trial store")
    connection.set_progress_handler(None, 0)
