"""Trial stores that somebody has made, digests included: refused at once, and nothing in them is run or deleted."""

import hashlib
import io
import os
import random
import shutil
import sqlite3
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from vseg_nas.errors import RunError
from vseg_nas.nas.executors.serial import SerialExecutor
from vseg_nas.nas.fake import FakeEvaluator
from vseg_nas.nas.loop import SearchLoop
from vseg_nas.nas.pruners import HalfwayPruner
from vseg_nas.nas.settings import Budget
from vseg_nas.nas.store import STORE, TrialStore, _row_digest
from vseg_nas.nas.strategies.base import build_strategy
from vseg_nas.nas.strategies.settings import ReinforceSettings
from vseg_nas.nas.trial import Evaluation, Trial, TrialState
from vseg_nas.space import SearchSpace

ENDLESS = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c) SELECT x FROM c"


def a_store(path: Path) -> None:
    with TrialStore(path) as store:
        for i in range(3):
            trial = Trial(i, SearchSpace(2).sample(random.Random(i)), i, TrialState.RUNNING)
            store.add([trial], b"state")
            if i:
                evaluation = Evaluation(0.5, 0.5, 0.5, 0.5, parameters=1, macs=1, seconds=1.0, epochs=2)
                store.finish(trial.completed(evaluation), b"state")


def run(*statements: str) -> Callable[[Path], None]:
    """Changes a store by SQL."""

    def attack(path: Path) -> None:
        with sqlite3.connect(path) as connection:
            for statement in statements:
                connection.execute(statement)
        connection.close()

    return attack


def tables(change: Callable[[str], str], name: str = "trials") -> Callable[[Path], None]:
    """Changes what the file says of a table."""

    def attack(path: Path) -> None:
        with sqlite3.connect(path) as connection:
            connection.execute("PRAGMA writable_schema = ON")
            (text,) = connection.execute("SELECT sql FROM sqlite_master WHERE name = ?", (name,)).fetchone()
            assert change(text) != text
            connection.execute("UPDATE sqlite_master SET sql = ? WHERE name = ?", (change(text), name))
        connection.close()

    return attack


def value(column: str, found: object) -> Callable[[Path], None]:
    """Gives a trial another value, and the digest that goes with it."""

    def attack(path: Path) -> None:
        with sqlite3.connect(path) as connection:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA ignore_check_constraints = ON")
            connection.execute(f"UPDATE trials SET {column} = ? WHERE id = 1", (found,))
            for row in connection.execute("SELECT * FROM trials").fetchall():
                connection.execute("UPDATE trials SET sha256 = ? WHERE id = ?", (_row_digest(row), row["id"]))
        connection.close()

    return attack


def as_a_view(path: Path) -> None:
    run(
        "ALTER TABLE trials RENAME TO t",
        f"CREATE VIEW trials AS SELECT * FROM t WHERE id IN (SELECT count(*) FROM ({ENDLESS} LIMIT 1000000000))",
    )(path)


def many_views(path: Path) -> None:
    rows = "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 50000)"
    run(
        "PRAGMA writable_schema = ON",
        f"{rows} INSERT INTO sqlite_master SELECT 'view', 'v' || x, 'v' || x, 0, "
        "printf('CREATE VIEW v%d AS SELECT 1', x) FROM c",
    )(path)


def a_great_file(path: Path) -> None:
    with path.open("r+b") as file:
        file.truncate(2**40)


def write_ahead(path: Path) -> None:
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA journal_mode = WAL")
    connection.close()


def hot_journal(path: Path, more: bytes = b"", pages: int | None = None) -> None:
    """Leaves the store as a killed writer does, whose journal ends with `more` and says how long the file was."""
    aside = path.with_name("aside")
    connection = sqlite3.connect(path, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    connection.execute("PRAGMA cache_spill = ON")
    connection.execute("PRAGMA cache_size = 1")
    connection.execute("UPDATE trials SET reason = printf('%.*c', 3000, 'x')")
    connection.execute("UPDATE snapshot SET state = zeroblob(100000)")
    journal = path.with_name(f"{STORE}-journal")
    shutil.copy(path, aside)
    content = bytearray(journal.read_bytes())
    connection.execute("ROLLBACK")
    connection.close()
    aside.rename(path)
    if content[:8] != bytes.fromhex("d9d505f920a163d7"):  # not synchronised yet
        content[:8] = bytes.fromhex("d9d505f920a163d7")
    content[8:12] = struct.pack(">i", -1)
    if pages is not None:
        content[16:20] = struct.pack(">I", pages)
    journal.write_bytes(bytes(content) + more)


def super_journal(path: Path) -> None:
    """Names a file of the user as the journal of several databases."""
    victim = str(path.parent.parent / "victim").encode()
    page = 2**30 // 4096 + 1
    check = struct.pack(">II", len(victim), sum(victim))
    hot_journal(path, struct.pack(">I", page) + victim + check + bytes.fromhex("d9d505f920a163d7"))


ODD: dict[str, Callable[[Path], object]] = {
    "trials are a view without end": as_a_view,
    "meta is a view": run(
        "DROP TABLE meta", f"CREATE VIEW meta AS SELECT count(*) AS schema_version FROM ({ENDLESS} LIMIT 1000000000)"
    ),
    "another view": run(f"CREATE VIEW v AS {ENDLESS}"),
    "a trigger": run("CREATE TRIGGER t AFTER UPDATE ON trials BEGIN DELETE FROM trials; END"),
    "a trigger on the state": run("CREATE TRIGGER t AFTER INSERT ON snapshot BEGIN DELETE FROM trials; END"),
    "a virtual table": run("CREATE VIRTUAL TABLE v USING fts5(x)"),
    "an index that computes": run("CREATE INDEX i ON trials (hex(zeroblob(1000)))"),
    "a partial index": run("CREATE INDEX i ON trials (id) WHERE id > 0"),
    "one more table": run("CREATE TABLE sqlite (x)"),
    "statistics": run("ANALYZE"),
    "one more column": run("ALTER TABLE trials ADD COLUMN more TEXT"),
    "a generated column": run("ALTER TABLE trials ADD COLUMN more AS (hex(zeroblob(100000000)))"),
    "a column less": run("ALTER TABLE trials DROP COLUMN failure"),
    "another name": run("ALTER TABLE trials RENAME COLUMN failure TO fault"),
    "no index": run("DROP INDEX trials_by_key"),
    "no snapshot table": run("DROP TABLE snapshot"),
    "a check": tables(lambda text: text.replace("sha256 TEXT", "sha256 TEXT CHECK (length(zeroblob(id * 1000000)))")),
    "another type": tables(lambda text: text.replace("score REAL", "score TEXT")),
    "no check": tables(lambda text: text.replace("CHECK (id = 0)", ""), "snapshot"),
    "no SQL at all": tables(lambda text: "CREATE", "snapshot"),
    "many views": many_views,
    "a great file": a_great_file,
    "write-ahead log": write_ahead,
    "half a header": lambda path: path.write_bytes(path.read_bytes()[:50]),
    "two versions": run("INSERT INTO meta VALUES (3)"),
    "version of great length": run("UPDATE meta SET schema_version = hex(zeroblob(1000000))"),
    "a value beyond the limit": run("UPDATE snapshot SET state = zeroblob(70000000)"),
    "a state that is text": run("UPDATE snapshot SET state = 'text'"),
    "a count that is text": run("UPDATE snapshot SET trials = 'three'"),
    "a journal that names a file": super_journal,
    "a journal of a great file": lambda path: hot_journal(path, pages=2**31),
    **{
        f"{column} = {str(found)[:12]}": value(column, found)
        for column, found in [
            ("score", "high"), ("score", None), ("score", float("inf")), ("score", b"0.5"), ("miou", "nan"),
            ("parameters", 0.5), ("parameters", "many"), ("macs", None), ("macs", -1), ("seconds", float("-inf")),
            ("epochs", "ten"), ("stopped", "no"), ("seed", "one"), ("seed", 0.5), ("attempts", "often"),
            ("genotype", b"{}"), ("genotype", "9" * 5000), ("key", "another"), ("state", "unknown"),
            ("state", "running"), ("state", b"complete"), ("reason", b"x"), ("failure", "boredom"),
            ("reused_from", "x"), ("failed_reward", "x"),
        ]
    },
}  # fmt: skip


def read_all(open_store: Callable[[Path], TrialStore], path: Path) -> None:
    with open_store(path) as store:
        store.trials()
        store.snapshot()
        store.attempts(Trial(1, SearchSpace(2).sample(random.Random(1)), 1, TrialState.RUNNING))


@pytest.mark.parametrize("name", ODD)
def test_is_refused_at_once(tmp_path: Path, name: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("what a user has written")
    (tmp_path / "r").mkdir()
    path = tmp_path / "r" / STORE
    a_store(path)
    ODD[name](path)
    for open_store in (TrialStore.read, TrialStore):
        started = time.process_time()
        with pytest.raises(RunError) as caught:
            read_all(open_store, path)
        assert time.process_time() - started < 1
        line = str(caught.value)
        assert STORE in line
        assert len(line.splitlines()) == 1
        assert len(line) < len(str(path)) + 150
    assert victim.read_text() == "what a user has written"


def test_a_journal_of_ours_is_rolled_back(tmp_path: Path) -> None:
    path = tmp_path / STORE
    a_store(path)
    with TrialStore.read(path) as store:
        before = store.trials()
    hot_journal(path)
    with TrialStore.read(path) as store:
        assert store.trials() == before
        assert store.snapshot() == b"state"
    assert not (tmp_path / f"{STORE}-journal").exists()


class Calls:
    """Unpickled, it makes a folder."""

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.mkdir, ("canary",)


def without(state: dict[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in state.items() if name != key}


STATES: dict[str, Callable[[dict[str, Any]], object]] = {
    "code": lambda state: Calls(),
    "a list": lambda state: [state],
    "a number": lambda state: 3,
    "nothing of the strategy": lambda state: without(state, "strategy"),
    "another strategy": lambda state: state | {"strategy": {"rng": (3, (1,) * 625, None)}},
    "a strategy that is a list": lambda state: state | {"strategy": [1]},
    "weights that are not finite": lambda state: state | {"strategy": {**state["strategy"], "baseline": float("nan")}},
    "rollouts that are none": lambda state: state | {"strategy": {**state["strategy"], "pending": [3]}},
    "scores that are none": lambda state: state | {"heard": ["high"]},
    "time that is none": lambda state: state | {"worked_s": "long"},
    "endless time": lambda state: state | {"worked_s": float("inf")},
    "a rule of another kind": lambda state: state | {"stopping": 5},
}


@pytest.mark.parametrize("name", [*STATES, "no pickle"])
def test_states_of_searches(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    space, pruner = SearchSpace(2), HalfwayPruner(1)

    def a_search(store: TrialStore) -> SearchLoop:
        evaluator = FakeEvaluator(space.genotype([0, 1, 2, 3, 4, 5, 4, 3, 2, 1]), pruner)
        strategy = build_strategy(ReinforceSettings(), space, 1)
        return SearchLoop(strategy, SerialExecutor(evaluator), pruner, store, seed=1, budget=Budget(2))

    with TrialStore(tmp_path / STORE) as store:
        a_search(store).run()
        snapshot = store.snapshot()
        assert snapshot is not None
        content = b"pickle"
        if name in STATES:
            buffer = io.BytesIO()
            torch.save(STATES[name](torch.load(io.BytesIO(snapshot), weights_only=True)), buffer)
            content = buffer.getvalue()
        row = (content, hashlib.sha256(content + b"2").hexdigest())
        store._connection.execute("UPDATE snapshot SET state = ?, sha256 = ?", row)
        assert store.snapshot() == content
        with pytest.raises(RunError, match="the stored state of the search"):
            a_search(store).run()
    assert not (tmp_path / "canary").exists()
