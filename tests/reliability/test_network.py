"""A search finds the same whether W&B can be reached, cannot, or is lost on the way."""

import os
from pathlib import Path

import pytest

from tests.fixtures import Figure
from tests.processes import found_by


@pytest.mark.long
def test_a_lost_logger_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, figure: Figure) -> None:
    """A server that nobody runs from the start, and W&B's own process killed after the first candidate."""
    for name in list(os.environ):
        if name.startswith("WANDB") or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    found = found_by("tests.reliability.logged_search", str(tmp_path))
    assert "KILLED THE LOGGER" in found["output"]
    assert "warning: W&B run is offline, the work goes on: [Errno 111]" in found["output"]
    assert "warning: W&B logging ends here, the work goes on: " in found["output"]
    assert set(found["histories"]) == {"plain", "unreachable", "killed"}
    assert len(set(found["histories"].values())) == 1
    times = ", ".join(f"{name} {seconds} s" for name, seconds in found["seconds"].items())
    figure("G14", f"W&B: {times}; one history")
