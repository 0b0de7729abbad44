"""The full form of tests/nas/test_resume.py: kill -9 at random and at every named point of a search."""

from pathlib import Path
from typing import Any

import pytest

from tests.fixtures import Figure
from tests.processes import found_by


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_200_kills_at_random_and_33_at_every_point_change_nothing(tmp_path: Path, figure: Figure) -> None:
    searches: dict[str, list[dict[str, Any]]] = found_by("tests.nas.killed_search", "full", str(tmp_path))
    points = searches.pop("points")
    assert sum(history["kills"] for history in points) == 33
    assert len(searches) == 5
    for histories in searches.values():
        assert sum(history["kills"] for history in histories) >= 40
    for whole, *killed in (points, *searches.values()):
        assert "ABANDONED" not in "".join(whole["trials"])
        for history in killed:
            assert history["trials"] == whole["trials"]
            assert history["state"] == whole["state"]
    kills = sum(int(history["kills"]) for histories in searches.values() for history in histories)
    figure("G1", f"{kills} SIGKILLs at random over {len(searches)} seeds, 0 differences")
    figure("G2", "33 SIGKILLs, one at every named point of the first, a middle and the last trial, 0 differences")
