"""A search killed at any moment and continued is the search that was never killed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

Histories = dict[str, list[dict[str, Any]]]


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> Histories:
    script = Path(__file__).with_name("killed_search.py")
    command = [sys.executable, str(script), "default", str(tmp_path_factory.mktemp("runs"))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: Histories = json.loads(done.stdout)
    return found


def test_the_search_has_something_to_lose(histories: Histories) -> None:
    (whole,) = histories["uninterrupted"]
    assert whole["kills"] == 0
    for state in ("COMPLETE", "STOPPED", "FAILED"):
        assert f"TrialState.{state}" in " ".join(whole["trials"])


@pytest.mark.parametrize(("how", "kills"), [("points", 33), ("random", 6)])
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
