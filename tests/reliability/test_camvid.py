"""A search on real CamVid in its setting for two cores, killed in the middle of a candidate and continued."""

import os
import signal
import time
from pathlib import Path

import pytest

from tests.builders import history
from tests.fixtures import Figure
from tests.processes import wait_until
from tests.test_search_run import ended, finish, start

WEIGHTS = Path(__file__).parents[2] / "weights/camvid_cpu_static.safetensors"


@pytest.mark.slow
@pytest.mark.timeout(2400)
def test_killed_and_continued_on_camvid(tmp_path: Path, figure: Figure) -> None:
    if "VSEG_NAS_CAMVID" not in os.environ:
        pytest.skip("VSEG_NAS_CAMVID does not name an unpacked CamVid")
    setting = ["dataset=camvid", "experiment=camvid_cpu", f"dataset.root={os.environ['VSEG_NAS_CAMVID']}"]
    setting += [f"static.weights={WEIGHTS}", "logger=none", "phase.search.trials=3", "phase.search.epochs=4"]
    finish(start(tmp_path, *setting, "name=whole"), tmp_path, seconds=1200)
    run = tmp_path / "runs/search/camvid/killed"
    process = start(tmp_path, *setting, "name=killed")
    wait_until(lambda: ended(run) >= 1, process)
    time.sleep(5)  # into the second candidate
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert ended(run) == 1
    finish(start(tmp_path, f"resume={run}"), tmp_path, seconds=1200)
    assert history(run) == history(tmp_path / "runs/search/camvid/whole")
    figure("G1", "real CamVid in the setting for two cores, 3 candidates, SIGKILL in the second: the same trials")
