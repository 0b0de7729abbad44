"""An interpreter that has imported what commands need and computed nothing; run by tests/processes.py.

It forks twice for each request. The process between ends at once, so that the new one becomes a child of the process
that has asked for it. The new process ends as an interpreter does, with a traceback after an exception and with the
status of `SystemExit`, but leaves its memory to the kernel: to take all modules apart would take a second.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import signal
import socket
import sys
import tempfile
import threading
import traceback
from pathlib import Path
from typing import Any

PUT_OFF = (  # what commands import when they first need it, and would do so in each fork
    "albumentations.pytorch",
    "matplotlib.backends.backend_svg",
    "vseg_nas.assembly.search_plan",
    "vseg_nas.assembly.static_pretraining",
    "vseg_nas.assembly.tracked_run",
    "vseg_nas.console.live",
    "vseg_nas.console.progress",
    "vseg_nas.console.summary",
    "vseg_nas.nas.strategies.ppo",
    "vseg_nas.nas.strategies.random",
    "vseg_nas.reporting.search_files",
    "vseg_nas.tracking.wandb_logger",
)


def preload() -> None:
    """Imports what takes seconds, and does what takes long only when it is done for the first time."""
    import pytorch_lightning  # noqa: F401
    import torch

    from tests.builders import composed
    from tests.composition import keep_in_memory
    from vseg_nas.figures.cell_drawing import save_cell_drawing
    from vseg_nas.space.hand_written import HAND_WRITTEN

    for module in PUT_OFF:
        importlib.import_module(module)
    keep_in_memory(setattr)
    composed("search")
    with tempfile.TemporaryDirectory() as folder:
        for suffix in ("png", "svg"):
            save_cell_drawing(HAND_WRITTEN["local_filters"], Path(folder) / f"cell.{suffix}", "a cell")
    torch.optim.Adam([torch.nn.Parameter(torch.zeros(1))])  # torch puts off parts of itself until then
    gc.freeze()  # or the collector of each fork would copy all the memory that it shares with this process


def next_request(link: socket.socket) -> dict[str, Any]:
    """Waits for requests; returns each in a process of its own, and ends with the process that makes them."""
    while True:
        header, streams, _, _ = socket.recv_fds(link, 8, 3)
        if not header:
            os._exit(0)  # pytest has ended
        request: dict[str, Any] = json.loads(link.recv(int.from_bytes(header, "big"), socket.MSG_WAITALL))
        reading, writing = os.pipe()
        between = os.fork()
        if between == 0:
            child = os.fork()
            if child:
                os.write(writing, child.to_bytes(8, "big"))
                os._exit(0)
            for end in (reading, writing, link.detach()):
                os.close(end)
            become(request, streams)
            return request
        os.waitpid(between, 0)
        link.sendall(os.read(reading, 8))
        for end in (reading, writing, *streams):
            os.close(end)


def become(request: dict[str, Any], streams: list[int]) -> None:
    """Gives this process the streams, the process group, the folder and the variables that were asked for."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    if request["group"] is None:
        os.setsid()
    else:
        os.setpgid(0, request["group"])
    os.chdir(request["folder"])
    sys.stdin = open(0, closefd=False)  # noqa: SIM115
    sys.stdout = open(1, "w", closefd=False)  # noqa: SIM115
    sys.stderr = open(2, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115
    os.environ.clear()
    os.environ |= request["environment"]
    main = sys.modules["__main__"]
    main.__spec__ = None
    del main.__file__  # children that are spawned need not import this file


def fulfil(what: str, *arguments: str) -> int:
    """Runs a script of several lines, or the ``main`` function of a module; returns the exit status."""
    try:
        if "\n" in what:
            sys.argv = ["-c", *arguments]
            exec(compile(what, "<script>", "exec"), {"__name__": "__main__"})
        else:
            module = importlib.import_module(what)
            sys.argv = [str(module.__file__), *arguments]
            module.main()
    except SystemExit as end:
        return int(end.code or 0)
    except KeyboardInterrupt:
        traceback.print_exc()
        sys.stderr.flush()
        signal.signal(signal.SIGINT, signal.SIG_DFL)
        os.kill(os.getpid(), signal.SIGINT)
    except BaseException:  # noqa: BLE001  (whatever it is: so does the interpreter)
        traceback.print_exc()
        return 1
    return 0


if __name__ == "__main__":
    preload()
    status = fulfil(*next_request(socket.socket(fileno=int(sys.argv[1])))["arguments"])
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
