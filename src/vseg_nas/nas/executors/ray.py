"""Evaluates candidates side by side on every device of one machine or of a Ray cluster. Only this file knows Ray.

Each worker is a Ray actor that lives as long as the search, and holds the features and a share of a machine's devices.
"""

import logging
import os
import pickle
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple, TypeVar

from vseg_nas.clock import working_s
from vseg_nas.errors import ConfigError, RunError
from vseg_nas.nas.executors.ray_head import HeadWatch, require_head, require_ray
from vseg_nas.nas.executors.ray_worker import InMemoryFactory, WorkerActor
from vseg_nas.nas.executors.supervisor import MAX_BAD_STARTS, Supervisor, WorkerDied, WorkerHandle, useful_workers
from vseg_nas.nas.executors.worker import CacheMiss, Ended, EvaluatorFactory, Message
from vseg_nas.nas.pruners import Pruner
from vseg_nas.nas.trial import Trial
from vseg_nas.runs.scratch import scratch
from vseg_nas.runs.signals import signals_deferred

_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
_STORE_BYTES = 256 * 2**20  # of a Ray of our own: messages only, since its workers see the files of this process
_LONGEST_WAIT_S = 0.25  # inside Ray, where no signal handler runs: Ctrl-C waits no longer than this
_TIDYING_S = 1.0  # in which idle workers remove a folder of temporary files; what a killed one leaves is removed later
_PATIENCE_S = 30.0  # time enough to start a process and import torch, where there is room
_REACHABLE_S = 1.0  # in which an idle actor answers, even from another machine
_ROUNDING = 1e-9  # so that ten candidates with a tenth each fill a device

T = TypeVar("T")

logger = logging.getLogger(__name__)


class CandidateResources(NamedTuple):
    """What one candidate uses of a machine: CUDA devices and CPU cores, as Ray counts them."""

    gpus: float
    cpus: float

    def fits(self, resources: dict[str, float]) -> int:
        """Returns how many candidates fit on one machine; a share of a CUDA device never spans two devices."""
        cores = int(resources.get("CPU", 0) / self.cpus + _ROUNDING)
        if not self.gpus:
            return cores
        return min(cores, int(resources.get("GPU", 0)) * int(1 / self.gpus + _ROUNDING))


class RayWorker(WorkerHandle):
    """The handle by which the search uses an actor.

    Args:
        ray: The module.
        actor: Handle of a `WorkerActor`.
    """

    def __init__(self, ray: Any, actor: Any) -> None:
        super().__init__()
        self._ray = ray
        self.actor = actor
        self.opened_at = working_s()
        self.started_ref = (
            actor.__ray_ready__.remote()
        )  # comes when Ray has found room for it, and its process is there
        self.message_ref: Any = None  # what the actor's next message comes by
        e = ray.exceptions
        # OutOfMemoryError: Ray ends a worker on a machine that is about to run out of memory.
        of_process = (e.RayActorError, e.WorkerCrashedError, e.ObjectLostError, e.OutOfMemoryError)
        self._deaths = (*of_process, e.NodeDiedError)

    def start(self, factory: bytes, *arrays: Any) -> None:
        """Starts to build the evaluator; a message will say whether that succeeded."""
        self.message_ref = self.actor.start.remote(factory, *arrays)

    def begin(self, trial: Trial, pruner: Pruner) -> None:
        """See `WorkerHandle`."""
        self.message_ref = self.actor.evaluate.options(num_returns="streaming").remote(trial, pruner)

    def has_message(self) -> bool:
        """See `WorkerHandle`."""
        return self.is_there(self.message_ref)

    def is_there(self, answer: Any, timeout_s: float = 0.0) -> bool:
        """Returns whether an answer of the actor has come, or comes within the time."""
        with signals_deferred():
            ready, _ = self._ray.wait([answer], timeout=timeout_s, fetch_local=False)
        return bool(ready)

    def receive(self) -> Message:
        """See `WorkerHandle`."""
        try:
            with signals_deferred():
                message: Message = self._ray.get(self.message_ref if self.trial is None else next(self.message_ref))
        except self._deaths as error:
            raise WorkerDied(f"({type(error).__name__})", perhaps_whole_job=True) from error
        if self.trial is None or isinstance(message, Ended):
            self.message_ref = None
        return message

    def is_alive(self) -> bool:
        """See `WorkerHandle`."""
        answer = self.actor.__ray_ready__.remote()
        if self.is_there(answer, _REACHABLE_S):  # else it is out of reach, which its next message will show
            try:
                with signals_deferred():
                    self._ray.get(answer)
            except (self._ray.exceptions.RayActorError, self._ray.exceptions.NodeDiedError):
                return False
        return True

    def terminate(self) -> None:
        """See `WorkerHandle`; Ray can only end an actor at once."""
        self.kill()

    def kill(self) -> None:
        """See `WorkerHandle`."""
        self._ray.kill(self.actor)


class RayExecutor(Supervisor[RayWorker]):
    """Evaluates one candidate in each worker on the machines of Ray.

    Args:
        factory: Builds the evaluator in each worker. Where a machine does not see its files, an `InMemoryFactory` is
            called with their arrays: Ray keeps one copy of them on each machine, which its workers share.
        pruner: The pruner, as in `Supervisor`.
        resources: What a candidate uses of a machine.
        workers: Number of workers; None means as many as the machines hold.
        at_most: Number of candidates that there can be at a time, whatever `workers` says; None means any number.
        address: Host and port of a running cluster; None means a Ray on this machine that lives as long as the search.
        limit_s: The most seconds that one candidate may take, as in `Supervisor`.
    """

    def __init__(
        self,
        factory: EvaluatorFactory,
        pruner: Pruner,
        resources: CandidateResources,
        *,
        workers: int | None = None,
        at_most: int | None = None,
        address: str | None = None,
        limit_s: float | None = None,
    ) -> None:
        super().__init__(pruner, limit_s=limit_s)
        self._factory = factory
        self._pickled = pickle.dumps(factory)
        self._resources = resources
        self._workers_wanted = workers
        self._at_most = at_most
        self._address = address
        self._arrays: list[Any] = []  # reference to the arrays in Ray's store, once a worker had no cache
        self._has_warned = False

    def _poll(self, timeout_s: float | None) -> Sequence[RayWorker]:
        self._head.check()
        self._warn_of_late_starts()
        timeout_s = _LONGEST_WAIT_S if timeout_s is None else min(timeout_s, _LONGEST_WAIT_S)
        refs = [worker.message_ref for worker in self._workers if worker.message_ref is not None]
        with signals_deferred():
            ready, _ = self._ray.wait(refs, timeout=timeout_s, fetch_local=False)
        return [worker for worker in self._workers if ready and worker.message_ref is ready[0]]

    def _warn_of_late_starts(self) -> None:
        """Warns once if workers have not started for a long time, most likely because Ray has no room for them."""
        if self._has_warned:
            return
        long_ago = working_s() - _PATIENCE_S
        late = [worker for worker in self._workers if not worker.is_ready and worker.opened_at < long_ago]
        waiting = [worker for worker in late if not worker.is_there(worker.started_ref)]
        if waiting:
            self._has_warned = True
            all_of = self._asking_the_head(self._ray.cluster_resources)
            free = self._asking_the_head(self._ray.available_resources)
            has = [f"{free.get(key, 0):g} of {all_of.get(key, 0):g}" for key in ("GPU", "CPU")]
            logger.warning(
                "executor=ray: %d of %d workers have not started in %.0f s; each takes %g GPUs and %g CPU cores, "
                "and Ray has %s GPUs and %s CPU cores free",
                *(len(waiting), len(self._workers), _PATIENCE_S, *self._resources, *has),
            )

    def _on_cache_miss(self, worker: RayWorker, message: CacheMiss) -> None:
        if not isinstance(self._factory, InMemoryFactory):
            raise message.error
        self._arrays = self._arrays or [self._ray.put(self._factory.arrays())]
        worker.start(self._pickled, *self._arrays)

    def _bad_start(self, death: WorkerDied) -> str:
        reason = " ".join(str(death.__cause__).split())[:300]
        return f"executor=ray: {MAX_BAD_STARTS} processes ended before their first trial: {reason}"

    def _asking_the_head(self, call: Callable[[], T]) -> T:
        """Runs a call in a thread, so that this one receives signals: Ray's C++ code would wait for a lost head.

        Raises:
            RunError: The head has gone.
        """
        answers: list[T] = []
        errors: list[BaseException] = []

        def ask() -> None:
            try:
                answers.append(call())
            except BaseException as error:  # noqa: BLE001  (is raised below, whatever it is)
                errors.append(error)

        self._head.check()
        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        while asking.is_alive():
            asking.join(_LONGEST_WAIT_S)
            self._head.check()
        if errors:
            raise errors[0]
        return answers[0]

    def _open(self, index: int) -> RayWorker:
        def opened() -> RayWorker:
            options = {"num_gpus": self._resources.gpus, "num_cpus": self._resources.cpus}
            worker = RayWorker(self._ray, self._ray.remote(WorkerActor).options(**options).remote(self._folder))
            worker.start(self._pickled, *self._arrays)
            return worker

        return self._asking_the_head(opened)

    def _kill(self, worker: RayWorker) -> None:
        self._asking_the_head(worker.kill)

    def _close(self, workers: Sequence[RayWorker]) -> None:
        """Lets free workers remove their files, then ends all workers; does nothing if the head has gone."""

        def end() -> None:
            tidying = [worker.actor.close.remote() for worker in workers if worker.is_free]
            if tidying:
                self._ray.wait(tidying, num_returns=len(tidying), timeout=_TIDYING_S)
            for worker in workers:
                worker.kill()

        with suppress(RunError):
            self._asking_the_head(end)

    def _count(self) -> int:
        return self._asking_the_head(self._count_workers)

    def _count_workers(self) -> int:
        there = self._ray.cluster_resources()
        most = sum(self._resources.fits(node["Resources"]) for node in self._ray.nodes() if node["Alive"])
        wanted = self._workers_wanted
        if most < (wanted or 1):
            has = f"{there.get('GPU', 0):g} GPUs and {there.get('CPU', 0):g} CPU cores"
            raise ConfigError(
                f"executor.workers: found {wanted or 'null (all)'}, expected at most {most}: Ray has {has}"
            )
        return useful_workers(wanted or most, self._at_most)

    @contextmanager
    def _environment(self) -> Iterator[None]:
        """Yields while Ray runs; a Ray that this has started ends with the block, with its processes and files.

        Raises:
            ConfigError: Ray cannot be reached, or has fewer devices than asked for.
            ExtraError: Ray is not installed.
        """
        self._ray = _import_ray()
        handler = signal.getsignal(signal.SIGTERM)
        files = ExitStack()
        self._folder: str | None = None
        try:
            if self._address is None:
                self._folder = str(files.enter_context(scratch("vr-")))  # short: sockets' names are limited
            self._connect()
            signal.signal(signal.SIGTERM, handler)  # Ray has put its own there
            self._head = HeadWatch(self._ray.get_runtime_context().gcs_address)
            files.callback(self._head.close)
            yield
        except SystemExit:
            if callable(handler):  # Ray's own handler has turned a SIGTERM that came early into this
                handler(signal.SIGTERM, None)
            raise
        finally:
            self._ray.shutdown()
            signal.signal(signal.SIGTERM, handler)
            files.close()

    def _connect(self) -> None:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self._address is None:
            # Workers that were asked for share the cores of this machine, instead of waiting for more of them.
            cores = os.cpu_count() or 1
            options["num_cpus"] = max(cores, round((self._workers_wanted or 0) * self._resources.cpus + 0.5))
            options |= {"include_dashboard": False, "object_store_memory": _STORE_BYTES, "_temp_dir": self._folder}
            if not self._resources.gpus:
                options["num_gpus"] = 0
        try:
            # `auto` becomes host and port, so that the head can be asked before Ray waits for it.
            address = self._address and self._ray._private.services.canonicalize_bootstrap_address(self._address)
            require_head(address)
            self._ray.init(address=address or "local", **options)
        except (ConnectionError, ValueError) as error:  # a ValueError of the address that Ray finds for `auto`
            raise ConfigError(
                f"executor.address: found no Ray cluster at {self._address}, expected one that this machine is part of"
            ) from error


def _import_ray() -> Any:
    require_ray()
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    import ray
    import ray._private.services
    import ray.exceptions

    return ray
