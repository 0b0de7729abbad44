"""Several jobs of one command, one after the other (``--multirun``): all of them run, even if some fail.

A failure that is the user's fault is reported in one line, and the next job begins. Another failure keeps its
traceback, which Hydra shows after the last job. If the same sweep is started again, finished jobs do not run again.
"""

import json
import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from vseg_nas.runs.files import read_regular, write_text
from vseg_nas.runs.streams import say
from vseg_nas.space import strict_json

FINISHED = "finished.json"
"""File in the folder of a sweep: the overrides of the finished jobs, by the names of their run directories."""
_MAX_BYTES = 2**24


class Sweep:
    """Runs jobs and remembers their outcomes.

    Args:
        jobs: The overrides of each job; those that all jobs share are not shown.
        explain: Returns the line for an error that is the user's fault, and None for any other error.
    """

    def __init__(self, jobs: Sequence[Sequence[str]], explain: Callable[[Exception], str | None]) -> None:
        shared = set.intersection(*map(set, jobs)) if len(jobs) > 1 else set()
        self._jobs = [" ".join(override for override in job if override not in shared) for job in jobs]
        self._outcomes = ["not run"] * len(jobs)
        self._explain = explain
        self.failed = 0

    @contextmanager
    def job(self, number: int, run_dir: Path, overrides: Sequence[str]) -> Iterator[bool]:
        """Runs a job as its block, and swallows a failure that is the user's fault.

        Args:
            number: The number of the job, from 0.
            run_dir: The run directory of the job.
            overrides: The overrides of the job.

        Yields:
            Whether the job has finished before, so that there is nothing to do.
        """
        finished = run_dir.parent / FINISHED
        if _read(finished).get(run_dir.name) == list(overrides) and any(run_dir.iterdir()):
            self._outcomes[number] = f"finished before, in {run_dir}"
            sys.stdout.write(f"job {number} ({self._jobs[number]}): finished before, in {run_dir}\n")
            yield True
            return
        self._outcomes[number] = "interrupted"
        try:
            yield False
            write_text(finished, json.dumps(_read(finished) | {run_dir.name: list(overrides)}, indent=1))
            self._outcomes[number] = f"finished, in {run_dir}"
        except Exception as error:
            line = self._explain(error)
            self._outcomes[number] = line or f"{type(error).__name__}, see the traceback"
            if line is None:
                raise
            self.failed += 1
            say(f"error: job {number} ({self._jobs[number]}): {line}")
        finally:
            _close_log()

    def show(self) -> None:
        """Prints a table of all jobs."""
        from rich.console import Console
        from rich.table import Table
        from rich.text import Text

        table = Table("job", "overrides", "outcome")
        for number, (overrides, outcome) in enumerate(zip(self._jobs, self._outcomes, strict=True)):
            table.add_row(str(number), Text(overrides, overflow="fold"), Text(outcome, overflow="fold"))
        Console().print(table)


def _close_log() -> None:
    """Closes the log files; Hydra would write its next records to that of the first job, whose folder may be gone."""
    root = logging.getLogger()
    for handler in [handler for handler in root.handlers if isinstance(handler, logging.FileHandler)]:
        root.removeHandler(handler)
        handler.close()


def _read(path: Path) -> dict[str, list[str]]:
    """Returns the overrides of the finished jobs; nothing if the file is missing or damaged."""
    if not path.is_file():
        return {}
    try:
        found = strict_json.loads(read_regular(path, _MAX_BYTES).decode(), _MAX_BYTES)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
