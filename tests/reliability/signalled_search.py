"""Run by test_signals.py: real searches that get signals at random moments, and what came of them as JSON."""

import json
import os
import random
import signal
import sys
import time
from pathlib import Path

import psutil

from tests.builders import TINY, history
from tests.reliability.forked import RUNS, start, wait, write_to

ARGUMENTS = TINY
KINDS = {"SIGINT": 130, "SIGTERM": 143, "SIGUSR1": 143, "SIGHUP": 129, "SIGINT twice": 130}
"""Statuses they end in."""


def begin(output: Path, *overrides: str) -> int:
    def prepare() -> None:
        os.setsid()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_IGN)  # before and after the handlers of the command, which are tested
        signal.signal(signal.SIGHUP, lambda number, frame: None)  # likewise; one that is ignored stays ignored
        write_to(output)

    return start(prepare, *overrides)


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


def main() -> None:
    folder, signals = Path(sys.argv[1]), int(sys.argv[2])
    os.chdir(folder)
    rng = random.Random(0)
    runs, output = RUNS, folder / "output"
    # the first one makes the static network and the cache
    assert wait(begin(output, *ARGUMENTS, "phase.search.trials=1", "name=first")) == 0
    began = time.monotonic()
    assert wait(begin(output, *ARGUMENTS, "name=whole")) == 0
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
            child = begin(output, *arguments)
            if delivered == signals:
                status = wait(child)
                if status != 0:
                    wrong.append(["none", status])
            else:
                kind = kinds[delivered % len(kinds)]
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
