"""What happens when a command is typed: read `Command` from top to bottom.

Everything is composed and checked before Hydra creates a directory, so a mistake costs one line and no file.
"""

import os
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Generic

import hydra
from hydra import initialize_config_dir
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from vseg_nas.cli.arguments import only_displays, read_arguments
from vseg_nas.cli.composition import (
    check_displayed,
    check_hydra_targets,
    compose_config,
    conf_dir,
    output_folder,
    register_resolvers,
    split_jobs,
)
from vseg_nas.cli.run_directory import check_can_be_made, check_current_folder, holds_a_run, is_resumable, refuse_a_run
from vseg_nas.cli.sweep import Sweep
from vseg_nas.cli.typed_config import C, typed_config
from vseg_nas.errors import ConfigError, UserError
from vseg_nas.runs.exits import OneLineErrors, fault_line
from vseg_nas.runs.lock import RunLock
from vseg_nas.runs.record import write_record
from vseg_nas.runs.resume import UNFINISHED, check_same_meaning, mark_unfinished, remove_without_results
from vseg_nas.runs.signals import stopping
from vseg_nas.runs.streams import open_missing_streams
from vseg_nas.schema import CommandConfig

_ON_MANY_DEVICES = ("pretrain", "search", "train")


def command(
    verb: str,
    schema: type[C],
    preflight: Callable[[C], None] = lambda config: None,
    products: Sequence[str] = (),
) -> Callable[[Callable[[C, Path], None]], Callable[[], None]]:
    """Makes a console entry point of ``run(config, run_dir)``; see `Command`, which takes the same arguments."""

    def decorate(run: Callable[[C, Path], None]) -> Callable[[], None]:
        return Command(verb, schema, run, preflight, products).main

    return decorate


class Command(Generic[C]):
    """A console entry point, which reads ``sys.argv`` whenever it is called.

    One process at a time runs in a run directory. The user's mistakes end in one line on stderr and status 2, Ctrl-C in
    status 130, SIGTERM and SIGUSR1 in 143, a closed terminal in 129, and a closed reader of stdout in 141. With
    ``--multirun`` all jobs run; the status is 2 if one of them failed.

    Args:
        verb: The name of the root file in ``conf/``.
        schema: The model of the root.
        run: Does the work of the command, given the typed configuration and the run directory.
        preflight: Raises `UserError` for what a look at the disk shows to be missing. It runs before any directory is
            made, so it should cost nothing.
        products: The names of what a run makes and does not replace by itself; it is removed when a killed run begins
            again.
    """

    def __init__(
        self,
        verb: str,
        schema: type[C],
        run: Callable[[C, Path], None],
        preflight: Callable[[C], None],
        products: Sequence[str],
    ) -> None:
        self._verb = verb
        self._schema = schema
        self._run = run
        self._preflight = preflight
        self._products = products
        # Of the command line that is being run: the folders that Hydra will make for it, and its sweep.
        self._new_folders: set[Path] = set()
        self._sweep: Sweep | None = None

    def main(self) -> None:
        """Checks the command line, and has Hydra run its jobs.

        Raises:
            SystemExit: The command failed; the status says how.
        """
        open_missing_streams()
        self._new_folders, self._sweep = set(), None
        with OneLineErrors(_is_debug()):
            check_current_folder()
            register_resolvers()
            args = read_arguments(self._verb, self._schema)
            if args.cfg:
                check_displayed(self._verb, args.overrides, args.package)
            if not only_displays(args):
                jobs = split_jobs(self._verb, args.overrides, args.multirun)
                if args.multirun:
                    self._sweep = Sweep(jobs, lambda error: None if _is_debug() else fault_line(error))
                self.check_jobs(jobs)
                os.environ["HYDRA_FULL_ERROR"] = "1"  # what fails from here on is our bug
            # Hydra reads sys.argv by itself, composes the same jobs once more, and makes the run directories.
            try:
                hydra.main(config_path=str(conf_dir()), config_name=self._verb, version_base="1.3")(self.run_job)()
            finally:
                if self._sweep is not None:
                    self._sweep.show()
        if self._sweep is not None and self._sweep.failed:
            raise SystemExit(2)

    def check_jobs(self, jobs: Sequence[list[str]]) -> None:
        """Composes and checks every job that the command line asks for.

        What is on the disk is checked here for a single job alone; each job of a sweep looks for itself when it begins.

        Args:
            jobs: The overrides of each job.

        Raises:
            UserError: The message says in one line what is wrong.
        """
        with initialize_config_dir(str(conf_dir()), version_base="1.3"):
            for overrides in jobs:
                composed = compose_config(self._verb, overrides, with_hydra=True)
                config = OmegaConf.masked_copy(composed, [str(key) for key in composed if key != "hydra"])
                typed = typed_config(config, self._schema)
                check_hydra_targets(self._verb, composed, overrides)
                _check_devices(self._verb, typed)
                if self._sweep is None:
                    self._preflight(typed)
                folder = output_folder(composed, "hydra.run.dir" if self._sweep is None else "hydra.sweep.dir")
                check_can_be_made(folder)
                on_the_way = (folder.absolute(), *folder.absolute().parents)
                self._new_folders |= {path for path in on_the_way if not path.exists()}
                if self._sweep is not None:
                    continue
                if (resumed := _resumed_run(typed)) is not None:
                    check_same_meaning(resumed, config, self._schema)
                else:
                    refuse_a_run(folder, config, self._schema)
        GlobalHydra.instance().clear()

    def run_job(self, config: DictConfig) -> None:
        """Runs one job; Hydra calls it for each, after it has made the run directory.

        Args:
            config: The configuration that Hydra has composed.
        """
        hydra_config = HydraConfig.get()
        run_dir, overrides = Path(hydra_config.runtime.output_dir), hydra_config.overrides.task
        with ExitStack() as stack:
            stack.enter_context(OneLineErrors(_is_debug()))
            typed = typed_config(config, self._schema)
            if self._sweep is not None:
                has_finished = stack.enter_context(self._sweep.job(hydra_config.job.num, run_dir, overrides))
                if has_finished:
                    return
            stack.enter_context(stopping())
            stack.enter_context(RunLock(run_dir))
            is_new = _resumed_run(typed) is None
            # A sweep that is started again by the same command resumes each of its jobs that has begun.
            if is_new and self._sweep is not None and is_resumable(self._schema) and holds_a_run(run_dir):
                check_same_meaning(run_dir, config, self._schema)
                is_new = False
            if is_new:
                # The command line was checked without the lock: another process may have begun a run here since.
                refuse_a_run(run_dir, config, self._schema)
                if not is_resumable(self._schema):
                    mark_unfinished(run_dir, self._products)
                write_record(run_dir, OmegaConf.to_yaml(config, resolve=True), overrides)
            try:
                if self._sweep is not None:
                    self._preflight(typed)
                self._run(typed, run_dir)
            except (UserError, OSError) as error:
                # The corrected command may then use the name. What raised for another reason keeps its traces.
                if is_new and fault_line(error) is not None:
                    remove_without_results(
                        run_dir, [folder for folder in run_dir.parents if folder in self._new_folders]
                    )
                raise
            (run_dir / UNFINISHED).unlink(missing_ok=True)


def _is_debug() -> bool:
    """Returns whether the user's mistakes keep their traceback; they may be made before there is a configuration."""
    return "debug=true" in sys.argv


def _resumed_run(typed: CommandConfig) -> Path | None:
    """Returns the run directory that ``resume=`` names, if the command has that key and it is set."""
    resume = getattr(typed, "resume", None)
    return None if resume is None else Path(resume)


def _check_devices(verb: str, typed: CommandConfig) -> None:
    gpu = getattr(typed, "gpu", None)
    if gpu is not None and gpu.devices != 1 and verb not in _ON_MANY_DEVICES:
        found = "null (all)" if gpu.devices is None else gpu.devices
        raise ConfigError(f"gpu.devices: found {found}, expected 1: {verb} computes on one device; use gpu=one")
