"""The trial store: one SQLite file with every trial and the state of the search, the only truth of a run.

Durability: rollback journal and `synchronous=FULL`, one writer, and one transaction for each thing that
happens, so a process killed at any moment leaves the file as it was before or after it. Every row has a digest, and
the state of the search knows how many there are: a changed bit is noticed, not learned from. No torch here.

A store may be anybody's, digests included. `vseg_nas.nas.store_checks` looks at file and tables before they are used;
here, values that are read have the types of our columns.
"""

import json
import math
import os
import sqlite3
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from reprlib import repr as brief
from types import TracebackType
from typing import Any, Self

from vseg_nas.errors import RunError
from vseg_nas.nas.store_checks import MAX_TRIALS, MAX_VALUE_BYTES, SCHEMA, SCHEMA_VERSION, check_files, check_tables
from vseg_nas.nas.trial import EVALUATION_FIELDS, Evaluation, FailureKind, Trial, TrialState
from vseg_nas.runs.digests import digest_of
from vseg_nas.runs.files import replacing
from vseg_nas.space import Genotype

STORE = "search.sqlite"
"""Name of the file in a run directory."""
COLUMNS = (
    *("id", "genotype", "key", "seed", "state"),
    *EVALUATION_FIELDS,
    *("reason", "failure", "reused_from", "failed_reward"),
)
_OPTIONAL = ("steadiness", "cost", "penalised")
"""Columns of an evaluation that may be empty beside its scores."""
WAIT_FOR_LOCK_S = 30.0  # a reader holds the file for milliseconds
_TYPES: dict[str, tuple[type, ...]] = {
    **dict.fromkeys(("id", "seed", "attempts"), (int,)),
    **dict.fromkeys(("genotype", "key", "state", "sha256"), (str,)),
    **dict.fromkeys(("reason", "failure"), (str, type(None))),
    **dict.fromkeys(("score", "miou", "fwiou", "macc", "seconds", "failed_reward"), (float, type(None))),
    **dict.fromkeys(_OPTIONAL, (float, type(None))),
    **dict.fromkeys(("parameters", "macs", "epochs", "stopped", "reused_from"), (int, type(None))),
}


class TrialStore:
    """The store of a run, opened for its one writer, and made if there is none; `read` opens it for anybody else.

    Closes at the end of a `with` block. Every method raises `RunError` with the path if the file is unusable.

    Args:
        path: Path of the file, whose folder exists.

    Raises:
        RunError: The file is not a trial store, damaged, or of another version.
    """

    def __init__(self, path: Path) -> None:
        if not os.path.lexists(path):
            _create(path)
        self._open(path, "rw")
        self._check()
        with self._errors():
            # Unlike a write-ahead log, this leaves one file between transactions, which may be copied alone.
            self._connection.execute("PRAGMA journal_mode = DELETE")
            self._connection.execute("PRAGMA synchronous = FULL")

    @classmethod
    def read(cls, path: Path) -> Self:
        """Opens an existing store that another process may be writing to; changing it is refused."""
        if not os.path.lexists(path):
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
            trial: The trial in its final state.
            snapshot: The state of the search.
            attempts: Number of attempts that it took, with those that were released; None means as many as are counted.
        """
        assignments = ", ".join(f"{column} = ?" for column in COLUMNS)
        with self._errors(), self._transaction():
            update = f"UPDATE trials SET {assignments}, attempts = COALESCE(?, attempts) WHERE id = ?"
            if self._connection.execute(update, (*_row(trial), attempts, trial.id)).rowcount != 1:
                raise ValueError(f"trial {trial.id} was never added")
            self._seal(trial)
            self._write_snapshot(snapshot)

    def set_attempts(self, trial: Trial, attempts: int) -> None:
        """Records how often a trial has been attempted: before an attempt, or when one does not count after all."""
        with self._errors(), self._transaction():
            self._connection.execute("UPDATE trials SET attempts = ? WHERE id = ?", (attempts, trial.id))
            self._seal(trial)

    def attempts(self, trial: Trial) -> int:
        """Returns the number of attempts at a trial, with the attempt under way, without those that were released.

        This is not part of the trial: a search that was killed and resumed has the same trials as one that was not.
        """
        row = self._select("SELECT attempts FROM trials WHERE id = ?", (trial.id,))[0]
        if type(row["attempts"]) is not int:
            raise RunError(f"{self._path}: trial {trial.id} is damaged (attempts: found {brief(row['attempts'])})")
        count: int = row["attempts"]
        return count

    def snapshot(self) -> bytes | None:
        """Returns the state of the search that goes with the trials; None before the first trial."""
        rows = self._select("SELECT * FROM snapshot")
        if not rows:
            return None
        state: bytes = rows[0]["state"]
        if type(state) is not bytes or _snapshot_digest(state, rows[0]["trials"]) != rows[0]["sha256"]:
            raise RunError(f"{self._path}: the saved state of the search is damaged (its SHA-256 differs)")
        return state

    def trials(self, *states: TrialState) -> list[Trial]:
        """Returns all trials, or those in the given states, by id."""
        places = ", ".join("?" * len(states))
        where = f"WHERE state IN ({places})" if states else ""
        return self._trials(f"{where} ORDER BY id", states)

    def unfinished(self) -> list[Trial]:
        """Trials that were asked for and have not ended: those to run again after an interruption."""
        return self.trials(TrialState.RUNNING)

    def find(self, key: str) -> Trial | None:
        """Returns the first trial with an evaluation, complete or stopped, of the cell with this canonical key."""
        found = self._trials("WHERE key = ? AND score IS NOT NULL ORDER BY id LIMIT 1", (key,))
        return found[0] if found else None

    def close(self) -> None:
        """Closes the file."""
        self._connection.close()

    def __len__(self) -> int:
        """Returns the number of trials ever asked for."""
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
        check_files(path)
        with self._errors():
            self._connection = sqlite3.connect(
                f"{path.resolve().as_uri()}?mode={mode}",
                uri=True,
                isolation_level=None,
                timeout=WAIT_FOR_LOCK_S,
            )
            self._connection.row_factory = sqlite3.Row
            self._connection.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_VALUE_BYTES)
            # What a foreign file could make SQLite do: open other files, call functions, follow damaged pages.
            self._connection.setlimit(sqlite3.SQLITE_LIMIT_ATTACHED, 0)
            self._connection.execute("PRAGMA trusted_schema = OFF")
            self._connection.execute("PRAGMA cell_size_check = ON")

    def _check(self) -> None:
        with self._errors():
            check_tables(self._path, self._connection)
        damage = self._select("PRAGMA integrity_check(1)")[0][0]
        if damage != "ok":
            raise RunError(f"{self._path}: damaged ({damage.splitlines()[-1]})")
        counts = self._select("SELECT (SELECT COUNT(*) FROM trials), COALESCE((SELECT trials FROM snapshot), 0)")[0]
        if counts[0] != counts[1]:
            raise RunError(f"{self._path}: damaged (not as many trials as were stored)")
        if counts[0] > MAX_TRIALS:
            raise RunError(f"{self._path}: found {counts[0]} trials, expected at most {MAX_TRIALS}")

    def _trials(self, where: str, parameters: Iterable[Any]) -> list[Trial]:
        rows = self._select(f"SELECT * FROM trials {where}", parameters)
        for row in rows:
            if row["sha256"] != _row_digest(row):
                raise RunError(f"{self._path}: trial {brief(row['id'])} is damaged (its SHA-256 differs)")
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
            self._connection.execute("BEGIN IMMEDIATE")  # takes the lock of the writer now, not at the first change
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
    """Creates an empty store, whole or not at all: an empty file is never an unfinished one, but a damaged one."""
    with replacing(path) as partial:
        try:
            with closing(sqlite3.connect(partial, isolation_level=None)) as connection:
                connection.executescript(f"BEGIN; {SCHEMA} INSERT INTO meta VALUES ({SCHEMA_VERSION}); COMMIT;")
        except sqlite3.OperationalError as error:
            raise RunError(f"{path}: {error}") from error


def _row_digest(row: sqlite3.Row) -> str:
    values = {name: row[name] for name in row.keys() if name != "sha256"}  # noqa: SIM118 (a row has no such iterator)
    return digest_of(json.dumps(values, default=str))


def _snapshot_digest(state: bytes, trials: int) -> str:
    return digest_of(state, str(trials))


def _row(trial: Trial) -> tuple[Any, ...]:
    scores = (
        (None,) * len(EVALUATION_FIELDS)
        if trial.evaluation is None
        else tuple(getattr(trial.evaluation, column) for column in EVALUATION_FIELDS)
    )
    head = (trial.id, trial.genotype.to_json(), trial.genotype.key, trial.seed, str(trial.state))
    return (*head, *scores, trial.reason, trial.failure, trial.reused_from, trial.failed_reward)


def _trial(row: sqlite3.Row) -> Trial:
    """Returns the trial of a row, the inverse of `_row`.

    Raises:
        ValueError: A value has a type or range that `_row` never writes, or values contradict each other.
    """
    for name, types in _TYPES.items():
        value = row[name]
        if type(value) not in types or (isinstance(value, float) and not math.isfinite(value)):
            raise ValueError(f"{name}: found {brief(value)}")
        if type(value) is int and value < 0:
            raise ValueError(f"{name}: found {value}, expected at least 0")
    scores = [row[column] for column in EVALUATION_FIELDS if column not in _OPTIONAL]
    has_scores = row["state"] in (TrialState.COMPLETE, TrialState.STOPPED)
    if not (all(value is not None for value in scores) if has_scores else scores == [None] * len(scores)):
        raise ValueError(f"state: found {brief(row['state'])}, which does not go with its scores")
    values = {column: row[column] for column in EVALUATION_FIELDS}
    evaluation = None if row["score"] is None else Evaluation(**values | {"stopped": bool(row["stopped"])})
    genotype = Genotype.from_json(row["genotype"])
    if genotype.key != row["key"]:
        raise ValueError(f"key: found {brief(row['key'])}, expected that of the genotype")
    return Trial(
        id=row["id"],
        genotype=genotype,
        seed=row["seed"],
        state=TrialState(row["state"]),
        evaluation=evaluation,
        reason=row["reason"],
        failure=None if row["failure"] is None else FailureKind(row["failure"]),
        reused_from=row["reused_from"],
        failed_reward=row["failed_reward"],
    )
