"""Readers of a running search never lose it a commit and are never told that the store is locked."""

import os
import time
from pathlib import Path

import pytest

from tests.fixtures import Figure
from vseg_nas.nas.store import STORE, TrialStore
from vseg_nas.nas.trial import Trial, TrialState
from vseg_nas.space import SearchSpace

READERS = 4


def read_until(folder: Path) -> int:
    """A child that reads until there is a file `stop`; its status tells whether all went well."""
    child = os.fork()
    if child:
        return child
    status = 1
    try:
        most = 0
        while not (folder / "stop").exists():
            with TrialStore.read(folder / STORE) as store:
                found = len(store.trials())
                assert store.snapshot() is not None or not found
            assert found >= most
            most = found
        status = 0
    finally:
        os._exit(status)


@pytest.mark.parametrize("commits", [100, pytest.param(1000, marks=pytest.mark.slow)])
def test_a_search_that_is_read_all_the_time_loses_nothing(tmp_path: Path, commits: int, figure: Figure) -> None:
    genotype = SearchSpace(1).genotype([0, 1, 0, 0, 0])
    with TrialStore(tmp_path / STORE) as store:
        children = [read_until(tmp_path) for _ in range(READERS)]
        for id_ in range(commits):
            store.add([Trial(id_, genotype, id_, TrialState.RUNNING)], b"state")
        time.sleep(0.1)
        (tmp_path / "stop").touch()
        assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0] * READERS
        assert [trial.id for trial in store.trials()] == list(range(commits))
    figure("G17", f"{commits} commits beside {READERS} readers, 0 lost, 0 refused")
