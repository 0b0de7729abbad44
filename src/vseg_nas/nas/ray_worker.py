"""A place where `RayExecutor` runs candidates: a long-living process on the machine of a device. No Ray in this file.

The evaluator lives in a thread, so that its messages can go out while it computes: see `vseg_nas.nas.worker`.
"""

import os
import signal
import threading
import traceback
from collections.abc import Iterator
from contextlib import ExitStack
from multiprocessing import Pipe
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, NamedTuple, Protocol, runtime_checkable

from vseg_nas.errors import UserError
from vseg_nas.nas.scratch import scratch
from vseg_nas.nas.stopping import NeverStop, StoppingRule
from vseg_nas.nas.trial import Evaluator, Trial
from vseg_nas.nas.worker import Broken, Ended, Message, Ready, build, evaluate, forget_slurm, portable
from vseg_nas.signals import DEAF_TO


class Missing(NamedTuple):
    """The recipe has not found a file."""

    error: UserError | OSError


Answer = Ready | Missing | Broken


@runtime_checkable
class Carried(Protocol):
    """A recipe that can do without its files: where it has raised FileNotFoundError, it is called with arrays."""

    def arrays(self) -> Any:
        """What is in the files: NumPy arrays in plain containers, read-only where they arrive."""
        ...

    def __call__(self, stopping: StoppingRule, root_dir: Path, arrays: Any = None) -> Evaluator:
        """See `Recipe`."""
        ...


class Place:
    """The actor: evaluates one candidate at a time.

    Args:
        folder: that it may make a folder of its own in; None: the machine's for temporary ones.
    """

    def __init__(self, folder: str | None = None) -> None:
        for number in DEAF_TO:
            signal.signal(number, signal.SIG_IGN)
        forget_slurm()
        self._rule = _Shipped()
        self._files = ExitStack()
        self._folder = self._files.enter_context(scratch("vseg-nas-", folder))

    def start(self, recipe: bytes, *arrays: Any) -> Answer:
        """Builds the evaluator.

        Args:
            recipe: a pickled `Recipe`.
            *arrays: of the recipe, where the answer without them was `Missing`.
        """
        self._pipe, theirs = Pipe()
        threading.Thread(target=self._serve, args=(theirs, recipe, arrays), daemon=True).start()
        answer: Answer = self._pipe.recv()
        return answer

    def evaluate(self, trial: Trial, stopping: StoppingRule) -> Iterator[Message]:
        """Every `Epoch` of the candidate as it ends, then how it `Ended` or what was `Broken`.

        Args:
            trial: to evaluate.
            stopping: the rule as it stands for this trial.
        """
        self._rule.rule = stopping
        self._pipe.send(trial)
        while True:
            message: Message = self._pipe.recv()
            yield message
            if isinstance(message, Ended | Broken):
                return

    def close(self) -> None:
        """Removes what it has on disk."""
        self._files.close()

    def _serve(self, pipe: Connection, recipe: bytes, arrays: tuple[Any, ...]) -> None:
        over = False
        try:
            try:
                evaluator = build(recipe, self._rule, self._folder, *arrays)
            except FileNotFoundError as error:
                if arrays:  # it has all it asked for
                    raise
                pipe.send(Missing(portable(error)))
            else:
                pipe.send(Ready())
                evaluate(pipe, evaluator)
            over = True
        except (UserError, OSError) as error:
            pipe.send(Broken(portable(error)))
            over = True
        finally:
            if not over:  # a SystemExit, a bug: what ends a process must not end a thread alone
                traceback.print_exc()
                os._exit(1)


class _Shipped(NeverStop):
    """The rule that came with the trial."""

    rule: StoppingRule

    def keep_going(self, score: float) -> bool:
        """See `StoppingRule`."""
        return self.rule.keep_going(score)
