"""A search killed at any moment and continued is the search that was never killed."""

from typing import Any

import pytest

from tests.processes import found_by

Histories = dict[str, list[dict[str, Any]]]
pytestmark = pytest.mark.long


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> Histories:
    folder = str(tmp_path_factory.mktemp("runs"))
    found: Histories = found_by("tests.nas.killed_search", "default", folder)
    return found


def test_the_search_has_something_to_lose(histories: Histories) -> None:
    (whole,) = histories["uninterrupted"]
    assert whole["kills"] == 0
    for state in ("COMPLETE", "STOPPED", "FAILED"):
        assert f"TrialState.{state}" in " ".join(whole["trials"])


@pytest.mark.parametrize(("how", "kills"), [("points", 33), ("random", 3)])
def test_killed_and_continued_is_never_killed(histories: Histories, how: str, kills: int) -> None:
    (whole,) = histories["uninterrupted"]
    assert sum(history["kills"] for history in histories[how]) >= kills
    for history in histories[how]:
        assert history["trials"] == whole["trials"]
        assert history["state"] == whole["state"]


def test_what_ends_three_sessions_does_not_end_a_fourth(histories: Histories) -> None:
    (whole,), (history,) = histories["uninterrupted"], histories["abandoned"]
    assert history["kills"] == 3
    assert history["trials"][:2] == whole["trials"][:2]
    assert "TrialState.ABANDONED" in history["trials"][2]
    assert "RUNNING" not in " ".join(history["trials"])
    assert len(history["trials"]) == len(whole["trials"])
