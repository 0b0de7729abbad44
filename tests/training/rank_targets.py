"""What test_ranks.py and test_openmp.py run in processes of their own, which need not import torch."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vseg_nas.errors import DataError
from vseg_nas.training.ranks import Rank, on_ranks

if TYPE_CHECKING:
    from vseg_nas.training.fitting import EpochReport


def counting(rank: Rank, report: EpochReport, factor: int) -> tuple[int, Rank]:
    """Reports twice."""
    for epoch in (1, 2):
        report(epoch, 2, {"rank": float(rank.index)})
    return factor * (rank.index + 1), rank


def environment(rank: Rank, report: EpochReport, names: tuple[str, ...]) -> dict[str, str]:
    """Those of the variables that are set in this process."""
    return {name: os.environ[name] for name in names if name in os.environ}


def failing(rank: Rank, report: EpochReport, kind: str, folder: Path) -> None:
    """The last rank fails in some way; the others hang, as in a collective operation, in a loader process, too."""
    child = os.fork()
    if child == 0:
        time.sleep(600)
    (folder / f"{rank.index}").write_text(f"{os.getpid()} {child}")
    if rank.index == rank.world_size - 1:
        while len(list(folder.iterdir())) < rank.world_size:
            time.sleep(0.01)
        match kind:
            case "killed":
                os.kill(os.getpid(), signal.SIGKILL)
            case "exit":
                os._exit(3)
            case "user":
                raise DataError("frame.png: damaged")
            case "bug":
                raise ZeroDivisionError("a bug")
            case "consequence":  # the other rank's death is the cause, and shows itself a little later
                (folder / "go").touch()
                raise RuntimeError("connection closed by peer")
    elif kind == "consequence":
        while not (folder / "go").exists():
            time.sleep(0.01)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGKILL)
    while True:
        time.sleep(1)


def main() -> None:
    """Hangs in two ranks until it is ended."""

    def report(*_: Any) -> None:
        raise AssertionError

    try:
        on_ranks(2, report, failing, "none", Path(sys.argv[1]))
    except KeyboardInterrupt:
        sys.exit(130)
