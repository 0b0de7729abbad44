import dataclasses
import random
import sqlite3
from pathlib import Path

import pytest

from vseg_nas.errors import RunError
from vseg_nas.nas.store import TrialStore
from vseg_nas.nas.trial import Evaluation, FailureKind, Trial, TrialState
from vseg_nas.space import Genotype, SearchSpace

CELLS = [SearchSpace(2).sample(random.Random(seed)) for seed in range(7)]
THIRD = Evaluation(1 / 3, 0.1, 0.2, 0.3, parameters=10, macs=10**12, seconds=0.1, epochs=4)


def asked(id_: int, cell: Genotype | None = None) -> Trial:
    return Trial(id_, cell or CELLS[id_], seed=2**31 - 1, state=TrialState.RUNNING)


def completed(id_: int, score: float, *, stopped: bool = False) -> Trial:
    return asked(id_).completed(dataclasses.replace(THIRD, score=score, stopped=stopped))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "a run?#1" / "search.sqlite"


@pytest.fixture
def store(path: Path) -> TrialStore:
    path.parent.mkdir()
    return TrialStore(path)


def fill(store: TrialStore, trials: list[Trial]) -> None:
    for trial in trials:
        store.add([dataclasses.replace(asked(trial.id), genotype=trial.genotype)], b"asked")
        if trial.state.is_final:
            store.finish(trial, b"told")


def test_every_kind_of_trial_survives_unchanged(store: TrialStore, path: Path) -> None:
    trials = [
        completed(0, 1 / 3),
        completed(1, 0.25, stopped=True),
        asked(2).failed('error: "bang"', reward=0.0),
        asked(3).failed("oom: no room", kind=FailureKind.OOM),
        asked(4, CELLS[0]).reusing(completed(0, 1 / 3)),
        asked(5).abandoned("three kills"),
        asked(6),
    ]
    fill(store, trials)
    store.close()
    with TrialStore(path) as again, TrialStore.read(path) as reader:
        assert again.trials() == reader.trials() == trials
        assert again.trials(TrialState.FAILED, TrialState.STOPPED) == trials[1:4]
        assert again.unfinished() == [trials[6]]
        assert len(again) == 7
        assert again.snapshot() == b"asked"
        assert {state: len(again.trials(state)) for state in TrialState} == {
            TrialState.RUNNING: 1,
            TrialState.COMPLETE: 2,
            TrialState.STOPPED: 1,
            TrialState.FAILED: 2,
            TrialState.ABANDONED: 1,
        }


def test_the_kind_of_a_failure_is_a_column_that_others_can_query(store: TrialStore, path: Path) -> None:
    fill(store, [asked(i).failed("bang", kind=kind) for i, kind in enumerate(FailureKind)] + [completed(5, 0.5)])
    with sqlite3.connect(path) as connection:
        kinds = [kind for (kind,) in connection.execute("SELECT failure FROM trials ORDER BY id")]
    assert kinds == ["error", "nonfinite", "oom", "killed", "timeout", None]


def test_attempts_are_counted_beside_the_trial(store: TrialStore, path: Path) -> None:
    fill(store, [asked(0), asked(1)])
    assert store.attempts(asked(1)) == 0
    store.set_attempts(asked(1), 2)
    store.finish(completed(1, 0.5), b"told")
    with TrialStore(path) as again:
        assert [again.attempts(trial) for trial in again.trials()] == [0, 2]
        assert again.trials() == [asked(0), completed(1, 0.5)]


def test_finds_a_cell_by_what_it_computes_and_only_with_an_evaluation(store: TrialStore) -> None:
    one_way, other_way = (Genotype.from_tokens(tokens) for tokens in ([0, 1, 2, 3, 0], [1, 0, 3, 2, 0]))
    fill(store, [asked(0, one_way).failed("error: bang"), asked(1, one_way)])
    assert store.find(other_way.key) is None
    store.finish(asked(1, one_way).completed(dataclasses.replace(THIRD, stopped=True)), b"")
    found = store.find(other_way.key)
    assert found is not None
    assert (found.id, found.state) == (1, TrialState.STOPPED)


def test_a_failed_write_changes_nothing(store: TrialStore) -> None:
    store.add([asked(0)], b"before")
    with pytest.raises(sqlite3.IntegrityError):
        store.add([asked(1), asked(0)], b"after")
    with pytest.raises(ValueError, match="never added"):
        store.finish(completed(1, 0.5), b"after")
    assert (store.trials(), store.snapshot()) == ([asked(0)], b"before")


def test_new_store_is_empty_and_has_no_snapshot(store: TrialStore) -> None:
    assert (len(store), store.trials(), store.snapshot()) == (0, [], None)


def test_readers_see_each_commit_and_cannot_write(store: TrialStore, path: Path) -> None:
    with TrialStore.read(path) as reader:
        store.add([asked(0)], b"")
        assert reader.trials() == [asked(0)]
        with pytest.raises(RunError, match="readonly"):
            reader.add([asked(1)], b"")
        store.finish(completed(0, 0.5), b"")
        assert reader.trials()[0].state is TrialState.COMPLETE


def test_a_full_disk_is_one_line_and_loses_nothing(store: TrialStore, path: Path) -> None:
    store.add([asked(0)], b"kept")
    store._connection.execute("PRAGMA max_page_count = 12")
    with pytest.raises(RunError, match=r"search.sqlite: database or disk is full$"):
        store.finish(completed(0, 0.5), b"x" * 100_000)
    assert (store.unfinished(), store.snapshot()) == ([asked(0)], b"kept")
    store.finish(completed(0, 0.5), b"smaller")
    assert len(store.trials(TrialState.COMPLETE)) == 1


class TestUnusableFiles:
    def test_missing(self, tmp_path: Path) -> None:
        with pytest.raises(RunError, match=r"nothing.sqlite: no trial store found"):
            TrialStore.read(tmp_path / "nothing.sqlite")
        (tmp_path / "a file").touch()
        with pytest.raises(RunError, match=r"search.sqlite: cannot be written"):
            TrialStore(tmp_path / "a file" / "search.sqlite")

    @pytest.mark.parametrize("open_store", [TrialStore, TrialStore.read])
    def test_not_a_database(self, path: Path, open_store: type[TrialStore]) -> None:
        path.parent.mkdir()
        path.write_text("trial,score\n" * 100)
        with pytest.raises(RunError, match=r"search.sqlite: file is not a database"):
            open_store(path)

    @pytest.mark.parametrize("open_store", [TrialStore, TrialStore.read])
    def test_some_other_database(self, path: Path, open_store: type[TrialStore]) -> None:
        path.parent.mkdir()
        sqlite3.connect(path).execute("CREATE TABLE cooking (recipe)")
        with pytest.raises(RunError, match="not a trial store"):
            open_store(path)

    @pytest.mark.parametrize("version", [1, 7])
    @pytest.mark.parametrize("open_store", [TrialStore, TrialStore.read])
    def test_another_version(self, store: TrialStore, path: Path, open_store: type[TrialStore], version: int) -> None:
        store._connection.execute("UPDATE meta SET schema_version = ?", (version,))
        with pytest.raises(RunError, match=f"found schema version {version}, expected 4"):
            open_store(path)

    def test_damaged_page(self, store: TrialStore, path: Path) -> None:
        fill(store, [completed(id_, 0.5) for id_ in range(5)])
        store.close()
        content = bytearray(path.read_bytes())
        content[4096 : 2 * 4096] = bytes(4096)
        path.write_bytes(content)
        with pytest.raises(RunError, match=r"search.sqlite: (damaged|database disk image is malformed)"):
            TrialStore(path)

    def test_damaged_snapshot(self, store: TrialStore) -> None:
        store.add([asked(0)], b"state")
        store._connection.execute("UPDATE snapshot SET state = ?", (b"stake",))
        with pytest.raises(RunError, match="SHA-256"):
            store.snapshot()

    def test_damaged_trial(self, store: TrialStore) -> None:
        store.add([asked(0)], b"state")
        store._connection.execute("UPDATE trials SET genotype = replace(genotype, '[', '{')")
        with pytest.raises(RunError, match="trial 0 is damaged"):
            store.trials()

    @pytest.mark.parametrize(
        "change",
        [
            *("seed = seed + 1", "score = 0.75", "miou = NULL", "epochs = epochs + 1", "stopped = 1", "seconds = 9"),
            *(
                "state = 'stopped'",
                "reason = 'none'",
                "reused_from = 0",
                "failed_reward = 0.5",
                "attempts = attempts + 1",
            ),
            *("key = 'another'", "parameters = 1", "macs = 1", "failure = 'oom'"),
        ],
    )
    def test_a_changed_value(self, store: TrialStore, path: Path, change: str) -> None:
        fill(store, [completed(0, 0.5)])
        store._connection.execute(f"UPDATE trials SET {change}")
        with pytest.raises(RunError, match="trial 0 is damaged"):
            TrialStore.read(path).trials()

    @pytest.mark.parametrize("change", ["DELETE FROM trials WHERE id = 1", "DELETE FROM snapshot"])
    @pytest.mark.parametrize("open_store", [TrialStore, TrialStore.read])
    def test_a_missing_row(self, store: TrialStore, path: Path, open_store: type[TrialStore], change: str) -> None:
        fill(store, [completed(0, 0.5), completed(1, 0.5), completed(2, 0.5)])
        store._connection.execute(change)
        with pytest.raises(RunError, match="not as many trials as were stored"):
            open_store(path)
