"""Run by test_signals.py: real searches that get signals at random moments, and what came of them as JSON.

Forks a child for each attempt, so that torch is imported once. Nothing is computed before a fork.
"""

import gc
import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import psutil
import pytorch_lightning  # noqa: F401  (for all children)
import torch

import vseg_nas.assembly.search
import vseg_nas.assembly.static
import vseg_nas.reporting.live
import vseg_nas.reporting.summary
import vseg_nas.search
from tests.tiny import TINY
from vseg_nas.nas.store import STORE, TrialStore

ARGUMENTS = [*TINY, "phase.search.trials=8"]
KINDS = {"SIGINT": 130, "SIGTERM": 143, "SIGUSR1": 143, "SIGINT twice": 130}
"""Statuses they end in."""


def start(output: Path, *overrides: str) -> int:
    """A child that searches; its process id."""
    child = os.fork()
    if child:
        return child
    os.setsid()
    with output.open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)
    sys.argv = ["vseg-nas-search", *overrides]
    status = 1
    try:
        vseg_nas.search.main()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        sys.stderr.flush()
        os._exit(status)


def wait(child: int) -> int:
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)


def history(run: Path) -> str:
    """Everything about the trials of a run but the time they took."""
    with TrialStore.read(run / STORE) as store:
        rows = [
            (t.id, t.genotype.tokens, t.seed, str(t.state), t.evaluation and (t.evaluation.score, t.evaluation.epochs))
            for t in store.trials()
        ]
    return repr(rows)


def signalled(child: int, kind: str, delay: float) -> tuple[float, int]:
    """Seconds from the signal to the end, and the exit status."""
    time.sleep(delay)
    sent = time.monotonic()
    os.kill(child, getattr(signal, kind.split()[0]))
    if kind.endswith("twice"):
        time.sleep(0.02)
        os.kill(child, signal.SIGINT)
    status = wait(child)
    return time.monotonic() - sent, status


def main(folder: Path, signals: int) -> None:
    os.chdir(folder)
    gc.freeze()
    rng = random.Random(0)
    runs, output = Path("runs/search/synthetic"), folder / "output"
    assert wait(start(output, *ARGUMENTS, "name=first")) == 0  # makes the static network and the cache
    began = time.monotonic()
    assert wait(start(output, *ARGUMENTS, "name=whole")) == 0
    longest = time.monotonic() - began
    expected = history(runs / "whole")
    delivered, wrong, slowest, searches, differing, left = 0, [], 0.0, 0, 0, 0
    kinds = list(KINDS)
    while delivered < signals:
        searches += 1
        run = runs / f"cut{searches}"
        run.mkdir()
        (run / "hpc_ckpt_7.ckpt").write_bytes(b"left over, and of the name that Lightning goes on from under Slurm")
        arguments = [*ARGUMENTS, f"name={run.name}"]
        while True:
            child = start(output, *arguments)
            if delivered == signals:
                status = wait(child)
                if status != 0:
                    wrong.append(["none", status])
            else:
                kind = kinds[delivered % len(kinds)]
                # Before the command has set up its handlers it dies like any Python program, which tells nothing.
                seconds, status = signalled(child, kind, rng.uniform(0.35, 1) * longest)
                if status != 0:
                    delivered += 1
                    slowest = max(slowest, seconds)
                    if status != KINDS[kind]:
                        wrong.append([kind, status])
            left += sum(1 for process in psutil.Process().children() if process.pid != child)
            if status == 0 or status not in KINDS.values():
                break
            arguments = [f"resume={run}"] if (run / "config.yaml").is_file() else arguments
        differing += history(run) != expected
    result = {
        "delivered": delivered,
        "wrong": wrong,
        "slowest_s": round(slowest, 2),
        "searches": searches,
        "differing": differing,
        "left": left,
        "output": output.read_text()[-2000:],
    }
    sys.stdout.write(json.dumps(result))
    gc.unfreeze()


if __name__ == "__main__":
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])  # seconds of imports, once for all children
    main(Path(sys.argv[1]), int(sys.argv[2]))
