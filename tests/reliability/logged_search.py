"""Run by test_network.py: real searches whose logger loses its network or its process; histories and times as JSON.

Forks a child for each search, so that torch is imported once. Nothing is computed before a fork.
"""

import json
import os
import sys
import threading
import time
from pathlib import Path

import psutil
import pytorch_lightning  # noqa: F401  (for all children)
import torch
import wandb  # noqa: F401

import vseg_nas.assembly.search
import vseg_nas.assembly.static
import vseg_nas.reporting.live
import vseg_nas.reporting.summary
import vseg_nas.search
from tests.reliability.signalled_search import history, wait
from tests.tiny import TINY
from vseg_nas.nas.store import STORE, TrialStore

SETTING = [override for override in TINY if not override.startswith("logger=")]
RUNS = Path("runs/search/synthetic")


def start(output: Path, name: str, logger: str, kills_logger: bool = False) -> int:
    child = os.fork()
    if child:
        return child
    with output.open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    if kills_logger:
        threading.Thread(target=kill_logger, args=(RUNS / name / STORE,), daemon=True).start()
    sys.argv = ["vseg-nas-search", *SETTING, f"logger={logger}", f"name={name}"]
    status = 1
    try:
        vseg_nas.search.main()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        sys.stderr.flush()
        os._exit(status)


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


def main(folder: Path) -> None:
    os.chdir(folder)
    output = folder / "output"
    os.environ |= {"WANDB_API_KEY": 40 * "a", "WANDB_BASE_URL": "http://127.0.0.1:9", "WANDB_DIR": str(folder)}
    assert wait(start(output, "first", "none")) == 0  # makes the static network and the cache
    seconds: dict[str, float] = {}
    for name, logger, kills in (
        ("plain", "none", False),
        ("unreachable", "online", False),
        ("killed", "offline", True),
    ):
        began = time.monotonic()
        status = wait(start(output, name, logger, kills_logger=kills))
        seconds[name] = round(time.monotonic() - began, 1)
        assert status == 0, output.read_text()[-2000:]
    histories = {name: history(RUNS / name) for name in seconds}
    result = {"seconds": seconds, "histories": histories, "output": output.read_text()}
    sys.stdout.write(json.dumps(result))


if __name__ == "__main__":
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])  # seconds of imports, once for all children
    main(Path(sys.argv[1]))
