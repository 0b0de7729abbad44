"""A worker of `RayExecutor`: a process on the machine of a device that lives as long as the search. No Ray here.

The evaluator lives in a thread, so that its messages can go out while it computes: see `worker.py`.
"""

import os
import threading
import traceback
from collections.abc import Iterator
from contextlib import ExitStack
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol, runtime_checkable

from vseg_nas.errors import UserError
from vseg_nas.nas.executors.worker import (
    CacheMiss,
    Ended,
    FatalError,
    Message,
    Ready,
    RemotePruner,
    Task,
    build,
    evaluate,
    portable,
)
from vseg_nas.nas.pruners import Pruner
from vseg_nas.nas.trial import Evaluator, Trial
from vseg_nas.runs.processes import clear_slurm_env, ignore_signals
from vseg_nas.runs.scratch import scratch


@runtime_checkable
class InMemoryFactory(Protocol):
    """A factory that can do without its files: if it raises FileNotFoundError, it is called again with arrays."""

    def arrays(self) -> Any:
        """Returns the content of the files: NumPy arrays in plain containers, which are read-only in the worker."""
        ...

    def __call__(self, pruner: Pruner, root_dir: Path, arrays: Any = None) -> Evaluator:
        """See `EvaluatorFactory`."""
        ...


class WorkerActor:
    """The actor: evaluates one candidate at a time.

    Args:
        folder: Folder in which the actor makes its own one; None means the machine's folder for temporary files.
    """

    def __init__(self, folder: str | None = None) -> None:
        ignore_signals()
        clear_slurm_env()
        self._files = ExitStack()
        self._folder = self._files.enter_context(scratch("vseg-nas-", folder))

    def start(self, factory: bytes, *arrays: Any) -> Message:
        """Builds the evaluator.

        Args:
            factory: A pickled `EvaluatorFactory`.
            *arrays: Arrays of the factory, if the answer without them was `CacheMiss`.
        """
        self._pipe, theirs = Pipe()
        threading.Thread(target=self._serve, args=(theirs, factory, arrays), daemon=True).start()
        answer: Message = self._pipe.recv()
        return answer

    def evaluate(self, trial: Trial, pruner: Pruner) -> Iterator[Message]:
        """Yields each `Epoch` of the candidate as it ends, then `Ended` with the result, or a `FatalError`.

        Args:
            trial: Trial to evaluate.
            pruner: Pruner in its state for this trial.
        """
        self._pipe.send(Task(trial, pruner))
        while True:
            message: Message = self._pipe.recv()
            yield message
            if isinstance(message, Ended | FatalError):
                return

    def close(self) -> None:
        """Removes the files of the worker."""
        self._files.close()

    def _serve(self, pipe: Connection, factory: bytes, arrays: tuple[Any, ...]) -> None:
        over = False
        pruner = RemotePruner()
        try:
            try:
                evaluator = build(factory, pruner, self._folder, *arrays)
            except FileNotFoundError as error:
                if arrays:  # it has all it asked for
                    raise
                pipe.send(CacheMiss(portable(error)))
            else:
                pipe.send(Ready())
                evaluate(pipe, evaluator, pruner)
            over = True
        except (UserError, OSError) as error:
            pipe.send(FatalError(portable(error)))
            over = True
        finally:
            if not over:  # a SystemExit, a bug: what ends a process must not end a thread alone
                traceback.print_exc()
                os._exit(1)
