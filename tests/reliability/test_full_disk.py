"""A disk that is full from any write on ends a search in one line; with room again it goes on as if never stopped."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.fixtures import Figure


@pytest.mark.parametrize("step", [31, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_full_from_the_kth_write_on(tmp_path: Path, step: int, figure: Figure) -> None:
    command = [sys.executable, "-m", "tests.reliability.full_disk_search", str(tmp_path), str(step)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["writes"] > 50
    assert found["searches"] == -(-found["writes"] // step)
    assert found["wrong"] == []
    assert found["differing"] == 0
    cut = f"{found['searches']} of {found['writes']}"
    figure("G9", f"disk full from {cut} writes of a search on: one line each, 0 differences after")
