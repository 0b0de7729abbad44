"""A disk that is full from any write on ends a search in one line; with room again it goes on as if never stopped."""

from pathlib import Path

import pytest

from tests.fixtures import Figure
from tests.processes import found_by


@pytest.mark.long
@pytest.mark.parametrize("step", [45, pytest.param(1, marks=[pytest.mark.slow, pytest.mark.timeout(3600)])])
def test_full_from_the_kth_write_on(tmp_path: Path, step: int, figure: Figure) -> None:
    found = found_by("tests.reliability.full_disk_search", str(tmp_path), str(step))
    assert found["writes"] > 50
    assert found["searches"] == -(-found["writes"] // step)
    assert found["wrong"] == []
    assert found["differing"] == 0
    cut = f"{found['searches']} of {found['writes']}"
    figure("G9", f"disk full from {cut} writes of a search on: one line each, 0 differences after")
