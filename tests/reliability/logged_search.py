"""Run by test_network.py: real searches whose logger loses its network or its process; histories and times as JSON."""

import json
import os
import sys
import threading
import time
from pathlib import Path

import psutil
import wandb  # noqa: F401  (for all children)

from tests.builders import TINY, history
from tests.reliability.forked import RUNS, start, wait, write_to
from vseg_nas.nas.store import STORE, TrialStore

SETTING = [override for override in TINY if not override.startswith("logger=")]


def begin(output: Path, name: str, logger: str, kills_logger: bool = False, trials: int = 3) -> int:
    def prepare() -> None:
        write_to(output)
        if kills_logger:
            threading.Thread(target=kill_logger, args=(RUNS / name / STORE,), daemon=True).start()

    return start(prepare, *SETTING, f"phase.search.trials={trials}", f"logger={logger}", f"name={name}")


def kill_logger(store: Path) -> None:
    """Waits for the first candidate to end, then kills the process that W&B sends with."""
    while True:
        time.sleep(0.05)
        if store.is_file():
            with TrialStore.read(store) as opened:
                if any(trial.state.is_final for trial in opened.trials()):
                    break
    for process in psutil.Process().children(recursive=True):
        if "wandb" in process.name():
            process.kill()
            sys.stdout.write("KILLED THE LOGGER\n")


def main() -> None:
    folder = Path(sys.argv[1])
    os.chdir(folder)
    output = folder / "output"
    os.environ |= {"WANDB_API_KEY": 40 * "a", "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_DIR": str(folder)}
    assert wait(begin(output, "first", "none", trials=1)) == 0  # makes the static network and the cache
    seconds: dict[str, float] = {}
    for name, logger, kills in (
        ("plain", "none", False),
        ("unreachable", "online", False),
        ("killed", "offline", True),
    ):
        began = time.monotonic()
        status = wait(begin(output, name, logger, kills_logger=kills))
        seconds[name] = round(time.monotonic() - began, 1)
        assert status == 0, output.read_text()[-2000:]
    histories = {name: repr(history(RUNS / name)) for name in seconds}
    result = {"seconds": seconds, "histories": histories, "output": output.read_text()}
    sys.stdout.write(json.dumps(result))
