"""Real searches in forks of a process that has imported everything. Nothing may be computed before a fork.

Their networks are shallow and their pictures are written, but not drawn: nobody looks at either.
"""

import os
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from matplotlib.figure import Figure

import vseg_nas.search
from tests.builders import make_shallow

RUNS = Path("runs/search/synthetic")


def _write_blank(figure: Figure, path: Path, **options: Any) -> None:
    path.write_bytes(b"a picture")


def start(prepare: Callable[[], None], *overrides: str, after: Callable[[], None] = lambda: None) -> int:
    """A child that searches; its process id.

    Args:
        prepare: runs in the child before the search.
        *overrides: of its command line.
        after: runs in the child after it, however it ended.
    """
    child = os.fork()
    if child:
        return child
    make_shallow(setattr)
    Figure.savefig = _write_blank  # type: ignore[assignment]
    prepare()
    sys.argv = ["vseg-nas-search", *overrides]
    status = 1
    try:
        vseg_nas.search.main()
        status = 0
    except SystemExit as end:
        status = int(end.code or 0)
    finally:
        if status == 1:
            traceback.print_exc()
        sys.stderr.flush()
        after()
        os._exit(status)


def write_to(output: Path) -> None:
    """Sends standard output and errors of this process to the end of a file."""
    with output.open("a") as log:
        os.dup2(log.fileno(), 1)
        os.dup2(log.fileno(), 2)


def wait(child: int) -> int:
    """Its exit status."""
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status)
