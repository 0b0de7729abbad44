"""The trial store: one SQLite file with every trial and the state of the search, the only truth of a run.

Durability: rollback journal and `synchronous=FULL`, one writer, and one transaction for each thing that
happens, so a process killed at any moment leaves the file as it was before or after it. Every row has a digest, and
the state of the search knows how many there are: a changed bit is noticed, not learned from. No torch here.
"""

import dataclasses
import hashlib
import json
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from vseg_nas.errors import RunError
from vseg_nas.files import replacing
from vseg_nas.nas.trial import Evaluation, FailureKind, Trial, TrialState
from vseg_nas.space import Genotype

STORE = "search.sqlite"
"""Name of the file in a run directory."""
SCHEMA_VERSION = 3
SCHEMA = """
CREATE TABLE meta (schema_version INTEGER NOT NULL);
CREATE TABLE trials (
    id INTEGER PRIMARY KEY, genotype TEXT NOT NULL, key TEXT NOT NULL, seed INTEGER NOT NULL,
    state TEXT NOT NULL, score REAL, miou REAL, fwiou REAL, macc REAL, parameters INTEGER, macs INTEGER,
    seconds REAL, epochs INTEGER, stopped INTEGER, reason TEXT, failure TEXT, reused_from INTEGER,
    failed_reward REAL, attempts INTEGER NOT NULL DEFAULT 0, sha256 TEXT
);
CREATE INDEX trials_by_key ON trials (key);
CREATE INDEX trials_by_score ON trials (score);
CREATE TABLE snapshot (
    id INTEGER PRIMARY KEY CHECK (id = 0), state BLOB NOT NULL, trials INTEGER NOT NULL, sha256 TEXT NOT NULL
);
"""
EVALUATION_COLUMNS = tuple(field.name for field in dataclasses.fields(Evaluation))
COLUMNS = (
    *("id", "genotype", "key", "seed", "state"),
    *EVALUATION_COLUMNS,
    *("reason", "failure", "reused_from", "failed_reward"),
)
WAIT_FOR_LOCK_S = 30.0  # a reader holds the file for milliseconds


class TrialStore:
    """Opens the store of a run for its one writer, and makes it if there is none; `read` is for anybody else.

    Closes at the end of a `with` block. Every method raises `RunError` with the path if the file is unusable.

    Args:
        path: of the file; its folder exists.

    Raises:
        RunError: not a trial store, damaged, or of another version.
    """

    def __init__(self, path: Path) -> None:
        if not path.exists():
            _create(path)
        self._open(path, "rw")
        self._check()
        with self._errors():
            self._connection.execute("PRAGMA journal_mode = DELETE")
            self._connection.execute("PRAGMA synchronous = FULL")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Opens an existing store that another process may be writing to; changing it is refused."""
        if not path.is_file():
            raise RunError(f"{path}: no trial store found")
        self = cls.__new__(cls)
        # Not mode=ro: that could not roll back what a killed writer has left half-done.
        self._open(path, "rw")
        self._check()
        with self._errors():
            self._connection.execute("PRAGMA query_only = ON")
        return self

    def add(self, trials: Iterable[Trial], snapshot: bytes) -> None:
        """Records trials just asked for, together with the state of the search after asking."""
        places = ", ".join("?" * len(COLUMNS))
        with self._errors(), self._transaction():
            for trial in trials:
                self._connection.execute(f"INSERT INTO trials ({', '.join(COLUMNS)}) VALUES ({places})", _row(trial))
                self._seal(trial)
            self._write_snapshot(snapshot)

    def finish(self, trial: Trial, snapshot: bytes, attempts: int | None = None) -> None:
        """Records the end of a trial, together with the state of the search after learning from it.

        Args:
            trial: that has ended.
            snapshot: the state.
            attempts: it took, those included that were taken back; None: as many as have been counted.
        """
        assignments = ", ".join(f"{column} = ?" for column in COLUMNS)
        with self._errors(), self._transaction():
            update = f"UPDATE trials SET {assignments}, attempts = COALESCE(?, attempts) WHERE id = ?"
            if self._connection.execute(update, (*_row(trial), attempts, trial.id)).rowcount != 1:
                raise ValueError(f"trial {trial.id} was never added")
            self._seal(trial)
            self._write_snapshot(snapshot)

    def count_attempts(self, trial: Trial, attempts: int) -> None:
        """Records how often a trial has been attempted: before an attempt, or when one does not count after all."""
        with self._errors(), self._transaction():
            self._connection.execute("UPDATE trials SET attempts = ? WHERE id = ?", (attempts, trial.id))
            self._seal(trial)

    def attempts(self, trial: Trial) -> int:
        """How often a trial has been attempted, the attempt under way included; no such that was taken back.

        Not part of the trial: a search that was killed and continued has the same trials as one that was not.
        """
        count: int = self._select("SELECT attempts FROM trials WHERE id = ?", (trial.id,))[0]["attempts"]
        return count

    def snapshot(self) -> bytes | None:
        """The state of the search that goes with the trials; None before the first trial."""
        rows = self._select("SELECT * FROM snapshot")
        if not rows:
            return None
        state: bytes = rows[0]["state"]
        if _snapshot_digest(state, rows[0]["trials"]) != rows[0]["sha256"]:
            raise RunError(f"{self._path}: the saved state of the search is damaged (its SHA-256 differs)")
        return state

    def trials(self, *states: TrialState) -> list[Trial]:
        """All trials, or those in the given states, by id."""
        places = ", ".join("?" * len(states))
        where = f"WHERE state IN ({places})" if states else ""
        return self._trials(f"{where} ORDER BY id", states)

    def unfinished(self) -> list[Trial]:
        """Trials that were asked for and have not ended: those to run again after an interruption."""
        return self.trials(TrialState.QUEUED, TrialState.RUNNING)

    def find(self, key: str) -> Trial | None:
        """The first trial with an evaluation, complete or stopped, of the cell with this canonical key."""
        found = self._trials("WHERE key = ? AND score IS NOT NULL ORDER BY id LIMIT 1", (key,))
        return found[0] if found else None

    def counts(self) -> dict[TrialState, int]:
        """Number of trials in each state."""
        rows = self._select("SELECT state, COUNT(*) AS n FROM trials GROUP BY state")
        found = {row["state"]: row["n"] for row in rows}
        return {state: found.get(state, 0) for state in TrialState}

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def __len__(self) -> int:
        """Number of trials ever asked for."""
        count: int = self._select("SELECT COUNT(*) AS n FROM trials")[0]["n"]
        return count

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _open(self, path: Path, mode: str) -> None:
        self._path = path
        with self._errors():
            self._connection = sqlite3.connect(
                f"{path.resolve().as_uri()}?mode={mode}",
                uri=True,
                isolation_level=None,
                timeout=WAIT_FOR_LOCK_S,
            )
            self._connection.row_factory = sqlite3.Row

    def _check(self) -> None:
        damage = self._select("PRAGMA integrity_check(1)")[0][0]
        if damage != "ok":
            raise RunError(f"{self._path}: damaged ({damage.splitlines()[-1]})")
        if not self._select("SELECT 1 FROM sqlite_master WHERE name = 'meta'"):
            raise RunError(f"{self._path}: a database, but not a trial store")
        versions = [row[0] for row in self._select("SELECT schema_version FROM meta")]
        if versions != [SCHEMA_VERSION]:
            found = ", ".join(map(str, versions)) or "none"
            raise RunError(f"{self._path}: found schema version {found}, expected {SCHEMA_VERSION}")
        counts = self._select("SELECT (SELECT COUNT(*) FROM trials), COALESCE((SELECT trials FROM snapshot), 0)")[0]
        if counts[0] != counts[1]:
            raise RunError(f"{self._path}: damaged (not as many trials as were stored)")

    def _trials(self, where: str, parameters: Iterable[Any]) -> list[Trial]:
        rows = self._select(f"SELECT * FROM trials {where}", parameters)
        if damaged := [row["id"] for row in rows if row["sha256"] != _row_digest(row)]:
            raise RunError(f"{self._path}: trial {damaged[0]} is damaged (its SHA-256 differs)")
        try:
            return [_trial(row) for row in rows]
        except ValueError as error:
            raise RunError(f"{self._path}: a trial is damaged ({error})") from error

    def _select(self, query: str, parameters: Iterable[Any] = ()) -> list[sqlite3.Row]:
        with self._errors():
            return self._connection.execute(query, tuple(parameters)).fetchall()

    def _write_snapshot(self, state: bytes) -> None:
        trials = len(self)
        values = (state, trials, _snapshot_digest(state, trials))
        self._connection.execute("INSERT OR REPLACE INTO snapshot VALUES (0, ?, ?, ?)", values)

    def _seal(self, trial: Trial) -> None:
        row = self._connection.execute("SELECT * FROM trials WHERE id = ?", (trial.id,)).fetchone()
        self._connection.execute("UPDATE trials SET sha256 = ? WHERE id = ?", (_row_digest(row), trial.id))

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield
            self._connection.execute("COMMIT")
        except BaseException:  # Ctrl-C must not leave half a transaction open either
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
            raise

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.IntegrityError, sqlite3.ProgrammingError):
            raise  # our bugs
        except sqlite3.DatabaseError as error:
            raise RunError(f"{self._path}: {error}") from error


def _create(path: Path) -> None:
    """An empty store, whole or not at all: so an empty file is never one that was not finished, but a damaged one."""
    with replacing(path) as partial:
        try:
            with closing(sqlite3.connect(partial, isolation_level=None)) as connection:
                connection.executescript(f"BEGIN; {SCHEMA} INSERT INTO meta VALUES ({SCHEMA_VERSION}); COMMIT;")
        except sqlite3.OperationalError as error:
            raise RunError(f"{path}: {error}") from error


def _row_digest(row: sqlite3.Row) -> str:
    values = {name: row[name] for name in row.keys() if name != "sha256"}  # noqa: SIM118 (a row has no such iterator)
    return hashlib.sha256(json.dumps(values, default=str).encode()).hexdigest()


def _snapshot_digest(state: bytes, trials: int) -> str:
    return hashlib.sha256(state + str(trials).encode()).hexdigest()


def _row(trial: Trial) -> tuple[Any, ...]:
    scores = (
        (None,) * len(EVALUATION_COLUMNS)
        if trial.evaluation is None
        else tuple(getattr(trial.evaluation, column) for column in EVALUATION_COLUMNS)
    )
    head = (trial.id, trial.genotype.to_json(), trial.genotype.key, trial.seed, str(trial.state))
    return (*head, *scores, trial.reason, trial.failure, trial.reused_from, trial.failed_reward)


def _trial(row: sqlite3.Row) -> Trial:
    values = {column: row[column] for column in EVALUATION_COLUMNS}
    evaluation = None if row["score"] is None else Evaluation(**values | {"stopped": bool(row["stopped"])})
    return Trial(
        id=row["id"],
        genotype=Genotype.from_json(row["genotype"]),
        seed=row["seed"],
        state=TrialState(row["state"]),
        evaluation=evaluation,
        reason=row["reason"],
        failure=None if row["failure"] is None else FailureKind(row["failure"]),
        reused_from=row["reused_from"],
        failed_reward=row["failed_reward"],
    )
