"""A search killed at any moment and continued is the search that was never killed."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="module")
def histories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    script = Path(__file__).with_name("killed_search.py")
    command = [sys.executable, str(script), str(tmp_path_factory.mktemp("runs"))]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_the_search_has_something_to_lose(histories: dict[str, Any]) -> None:
    trials = " ".join(histories["uninterrupted"]["trials"])
    assert histories["uninterrupted"]["kills"] == 0
    for state in ("COMPLETE", "STOPPED", "FAILED"):
        assert f"TrialState.{state}" in trials


@pytest.mark.parametrize(("how", "at_least"), [("points", 24), ("random", 4)])
def test_killed_and_continued_is_never_killed(histories: dict[str, Any], how: str, at_least: int) -> None:
    assert histories[how]["kills"] >= at_least
    assert histories[how]["trials"] == histories["uninterrupted"]["trials"]
    assert histories[how]["state"] == histories["uninterrupted"]["state"]
