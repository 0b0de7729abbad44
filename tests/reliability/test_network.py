"""A search finds the same whether W&B can be reached, cannot, or is lost on the way."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from tests.fixtures import Figure


def test_a_lost_logger_changes_nothing(tmp_path: Path, figure: Figure) -> None:
    """A server that nobody runs from the start, and W&B's own process killed after the first candidate."""
    command = [sys.executable, "-m", "tests.reliability.logged_search", str(tmp_path)]
    left_out = {name for name in os.environ if name.startswith("WANDB") or name.lower().endswith("_proxy")}
    environment = {name: value for name, value in os.environ.items() if name not in left_out} | {"OMP_NUM_THREADS": "1"}
    root = Path(__file__).parents[2]
    done = subprocess.run(command, cwd=root, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-3000:]
    found: dict[str, Any] = json.loads(done.stdout)
    assert "KILLED THE LOGGER" in found["output"]
    assert "warning: W&B run is offline, the work goes on: [Errno 111]" in found["output"]
    assert "warning: W&B logging ends here, the work goes on: " in found["output"]
    assert set(found["histories"]) == {"plain", "unreachable", "killed"}
    assert len(set(found["histories"].values())) == 1
    times = ", ".join(f"{name} {seconds} s" for name, seconds in found["seconds"].items())
    figure("G14", f"W&B: {times}; one history")
