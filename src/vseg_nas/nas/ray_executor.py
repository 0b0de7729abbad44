"""Runs candidates side by side on every device of one machine or of a Ray cluster. Only this file knows Ray.

Each place to run one is a Ray actor that lives as long as the search, holds the features and a share of the machine's
devices, and is replaced when it has died or has to. What candidates do is a function of the same things as in
`SerialExecutor`.
"""

import logging
import os
import pickle
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from typing import Any, NamedTuple, TypeVar

from vseg_nas.clock import working_s
from vseg_nas.errors import ConfigError, RunError
from vseg_nas.nas.executor import Died, Failure, Outcome, Report
from vseg_nas.nas.ray_extra import HeadWatch, require_head, require_ray
from vseg_nas.nas.ray_worker import Answer, Carried, Missing, Place
from vseg_nas.nas.scratch import scratch
from vseg_nas.nas.stopping import StoppingRule
from vseg_nas.nas.trial import FailureKind, Trial
from vseg_nas.nas.worker import Broken, Ended, Epoch, Message, Recipe
from vseg_nas.signals import deferred

_SETTINGS = {"RAY_USAGE_STATS_ENABLED": "0", "RAY_ENABLE_UV_RUN_RUNTIME_ENV": "0"}
_STORE_BYTES = 256 * 2**20  # of a Ray of our own: messages only, since its places see the files of this process
_LONGEST_WAIT_S = 0.25
_TIDYING_S = 1.0
_OWN_SIGNAL_S = 1.0
_PATIENCE_S = 30.0
_ANSWER_S = 1.0
_MAX_BAD_STARTS = 3
_ROUNDING = 1e-9

T = TypeVar("T")

logger = logging.getLogger(__name__)


class Share(NamedTuple):
    """What one candidate takes of a machine: CUDA devices and CPU cores, as Ray counts them."""

    gpus: float
    cpus: float

    def fits(self, resources: dict[str, float]) -> int:
        """How many times it fits one machine; a share of a CUDA device is never taken from two."""
        cores = int(resources.get("CPU", 0) / self.cpus + _ROUNDING)
        if not self.gpus:
            return cores
        return min(cores, int(resources.get("GPU", 0)) * int(1 / self.gpus + _ROUNDING))


class RayExecutor:
    """As many candidates at a time as there are places.

    Args:
        recipe: of the evaluator; picklable. Where a machine does not see its files, a `Carried` one is handed the
            arrays: Ray keeps one copy of them on each machine, which its places share.
        stopping: the rule that candidates are asked about half-way, as it stands when they start.
        share: what a candidate takes.
        workers: places; None: as many as there are shares.
        at_most: places, whatever `workers` says: more could never be used.
        address: host and port of a running cluster; None: a Ray on this machine that lives as long as the search.
        limit_s: seconds that a candidate may take, those not counted in which the search was suspended; None: any
            number.
    """

    def __init__(
        self,
        recipe: Recipe,
        stopping: StoppingRule,
        share: Share,
        *,
        workers: int | None = None,
        at_most: int | None = None,
        address: str | None = None,
        limit_s: float | None = None,
    ) -> None:
        self._recipe = recipe
        self._pickled = pickle.dumps(recipe)
        self._stopping = stopping
        self._share = share
        self._workers = workers
        self._at_most = at_most
        self._address = address
        self._limit_s = limit_s
        self._arrays: list[Any] = []  # a reference to them, once a machine has asked
        self._bad_starts = 0
        self._paused = -_OWN_SIGNAL_S  # when the last pause after a death was over
        self._has_complained = False

    def run(self, trials: Iterable[Trial | None], report: Report) -> Generator[Outcome]:
        """See `Executor`.

        Raises:
            ConfigError: Ray is not installed, not to be reached, or has fewer devices than asked for.
            RunError: no place gets as far as its first candidate.
        """
        self._ray = _import_ray()
        with self._connected():
            count = self._asking_the_head(self._count)
            places = [self._open() for _ in range(count)]
            try:
                yield from self._run(places, trials, report)
            finally:
                self._close(places)

    def _run(self, places: "list[_Slot]", trials: Iterable[Trial | None], report: Report) -> Generator[Outcome]:
        waiting, over = iter(trials), False
        while True:
            for index, place in enumerate(places):
                if not over and place.is_free:
                    if not self._is_alive(place):  # it ended after its last trial: none is to be charged with that
                        places[index] = self._open(instead_of=place)
                        continue
                    trial = next(waiting, self)
                    over = trial is self
                    if not isinstance(trial, Trial):
                        break
                    place.begin(trial, self._stopping, self._limit_s)
            if over and not any(place.trial for place in places):
                return
            self._head.check()
            self._mention_waiting(places)
            for index, place in enumerate(places):
                if place.is_late and not self._is_there(place.pending):  # else it was in time: this process was late
                    places[index] = self._open(instead_of=place)
                    yield Outcome(place.taken, Failure(FailureKind.TIMEOUT, f"took longer than {self._limit_s:g} s"))
            ready = self._wait(places)
            for index, place in enumerate(places):
                if place.pending is ready and ready is not None:
                    outcome = self._react(place, report)
                    if not place.is_usable:
                        places[index] = self._open(instead_of=place)
                    if outcome is not None:
                        yield outcome

    def _wait(self, places: "list[_Slot]") -> Any:
        """What has something to say; None if nothing has in time."""
        pending = [place.pending for place in places if place.pending is not None]
        deadlines = [place.deadline for place in places if place.deadline is not None]
        left = max(0.0, min(deadlines) - working_s()) if deadlines else _LONGEST_WAIT_S
        with deferred():
            ready, _ = self._ray.wait(pending, timeout=min(left, _LONGEST_WAIT_S), fetch_local=False)
        return ready[0] if ready else None

    def _is_there(self, pending: Any, timeout_s: float = 0.0) -> bool:
        with deferred():
            ready, _ = self._ray.wait([pending], timeout=timeout_s, fetch_local=False)
        return bool(ready)

    def _is_alive(self, place: "_Slot") -> bool:
        answer = place.actor.__ray_ready__.remote()
        if self._is_there(answer, _ANSWER_S):  # else it is out of reach, which its next message will show
            try:
                with deferred():
                    self._ray.get(answer)
            except (self._ray.exceptions.RayActorError, self._ray.exceptions.NodeDiedError):
                return False
        return True

    def _mention_waiting(self, places: "list[_Slot]") -> None:
        """Says so, once, where places have not started for long: most likely, Ray has no room for them."""
        if self._has_complained:
            return
        long_ago = working_s() - _PATIENCE_S
        late = [place for place in places if place.is_starting and place.opened < long_ago]
        waiting = [place for place in late if not self._is_there(place.placed)]
        if waiting:
            self._has_complained = True
            all_of = self._asking_the_head(self._ray.cluster_resources)
            free = self._asking_the_head(self._ray.available_resources)
            has = [f"{free.get(key, 0):g} of {all_of.get(key, 0):g}" for key in ("GPU", "CPU")]
            logger.warning(
                "executor=ray: %d of %d places have not started in %.0f s; each takes %g GPUs and %g CPU cores, "
                "and Ray has %s GPUs and %s CPU cores free",
                *(len(waiting), len(places), _PATIENCE_S, *self._share, *has),
            )

    def _leave_time_for_own_signal(self) -> None:
        """What has ended a process may have been sent to the whole job: then ours is to arrive, and ends the search.

        Once for deaths that are heard of one after the other.
        """
        if working_s() - self._paused >= _OWN_SIGNAL_S:
            time.sleep(_OWN_SIGNAL_S)
            self._paused = working_s()

    def _react(self, place: "_Slot", report: Report) -> Outcome | None:
        exceptions = self._ray.exceptions
        try:
            with deferred():
                message = place.receive()
            return self._hear(place, message, report)
        except (
            exceptions.RayActorError,
            exceptions.WorkerCrashedError,
            exceptions.ObjectLostError,
            exceptions.OutOfMemoryError,  # ended by Ray, for a machine that was about to run out
            exceptions.NodeDiedError,
        ) as error:
            place.is_usable = False
            self._leave_time_for_own_signal()
            if place.trial is not None:
                return Outcome(place.trial, Died(f"its process ended ({type(error).__name__})"))
            self._bad_starts += 1
            if self._bad_starts == _MAX_BAD_STARTS:
                reason = " ".join(str(error).split())[:300]
                raise RunError(
                    f"executor=ray: {_MAX_BAD_STARTS} processes ended before their first trial: {reason}"
                ) from error
            return None

    def _hear(self, place: "_Slot", message: Message | Answer, report: Report) -> Outcome | None:
        match message:
            case Epoch():
                report(place.taken, *message)
            case Ended(result, usable):
                place.is_usable = usable
                return Outcome(place.end(), result)
            case Broken(error):
                raise error
            case Missing(error):
                if not isinstance(self._recipe, Carried):
                    raise error
                self._arrays = self._arrays or [self._ray.put(self._recipe.arrays())]
                place.start(self._pickled, *self._arrays)
            case _:
                self._bad_starts = 0
        return None

    def _asking_the_head(self, call: Callable[[], T]) -> T:
        """Waits for a call without being deaf: Ray itself waits in C++ for a head that has gone.

        Raises:
            RunError: it has gone.
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

    def _open(self, instead_of: "_Slot | None" = None) -> "_Slot":
        return self._asking_the_head(lambda: self._opened(instead_of))

    def _opened(self, instead_of: "_Slot | None") -> "_Slot":
        if instead_of is not None:
            self._ray.kill(instead_of.actor)
        options = {"num_gpus": self._share.gpus, "num_cpus": self._share.cpus}
        actor = self._ray.remote(Place).options(**options).remote(self._folder)
        place = _Slot(self._ray, actor)
        place.start(self._pickled, *self._arrays)
        return place

    def _close(self, places: "list[_Slot]") -> None:
        """Lets free places tidy up, and ends all of them; without a head, whom Ray would wait for, it leaves that."""
        with suppress(RunError):
            self._asking_the_head(lambda: self._end(places))

    def _end(self, places: "list[_Slot]") -> None:
        tidying = [place.actor.close.remote() for place in places if place.is_free]
        if tidying:
            self._ray.wait(tidying, num_returns=len(tidying), timeout=_TIDYING_S)
        for place in places:
            self._ray.kill(place.actor)

    def _count(self) -> int:
        """How many places to open."""
        there = self._ray.cluster_resources()
        most = sum(self._share.fits(node["Resources"]) for node in self._ray.nodes() if node["Alive"])
        wanted = self._workers
        if most < (wanted or 1):
            has = f"{there.get('GPU', 0):g} GPUs and {there.get('CPU', 0):g} CPU cores"
            raise ConfigError(
                f"executor.workers: found {wanted or 'null (all)'}, expected at most {most}: Ray has {has}"
            )
        count, useful = wanted or most, self._at_most or wanted or most
        if count > useful:
            logger.warning(
                "executor.workers: %d of %d stay unused, for phase.search.batch=%d", count - useful, count, useful
            )
        return min(count, useful)

    @contextmanager
    def _connected(self) -> Iterator[None]:
        """Within, there is a Ray; afterwards one of our own is gone, with every process and file of it."""
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
            if callable(handler):  # what Ray's own does about a signal that came early
                handler(signal.SIGTERM, None)
            raise
        finally:
            self._ray.shutdown()
            signal.signal(signal.SIGTERM, handler)
            files.close()

    def _connect(self) -> None:
        options: dict[str, Any] = {"log_to_driver": False, "logging_level": logging.ERROR}
        if self._address is None:
            cores = os.cpu_count() or 1
            options["num_cpus"] = max(cores, round((self._workers or 0) * self._share.cpus + 0.5))
            options |= {"include_dashboard": False, "object_store_memory": _STORE_BYTES, "_temp_dir": self._folder}
            if not self._share.gpus:
                options["num_gpus"] = 0
        try:
            address = self._address and self._ray._private.services.canonicalize_bootstrap_address(self._address)
            require_head(address)
            self._ray.init(address=address or "local", **options)
        except (ConnectionError, ValueError) as error:  # a ValueError of the address that Ray finds for `auto`
            raise ConfigError(
                f"executor.address: found no Ray cluster at {self._address}, expected one that this machine is part of"
            ) from error


class _Slot:
    """A place as the search sees it."""

    def __init__(self, ray: Any, actor: Any) -> None:
        self._ray = ray
        self.actor = actor
        self.opened = working_s()
        self.placed = actor.__ray_ready__.remote()  # comes when Ray has found room for it, and its process is there
        self.trial: Trial | None = None
        self.pending: Any = None  # what the actor's next message comes by
        self.deadline: float | None = None
        self.is_usable = True

    @property
    def is_free(self) -> bool:
        """Whether it can begin."""
        return self.pending is None and self.is_usable

    @property
    def is_starting(self) -> bool:
        """Whether it has not said yet that it can begin."""
        return self.pending is not None and self.trial is None

    @property
    def is_late(self) -> bool:
        """Whether its candidate has used up its time."""
        return self.deadline is not None and working_s() >= self.deadline

    @property
    def taken(self) -> Trial:
        """The trial under way."""
        assert self.trial is not None
        return self.trial

    def start(self, recipe: bytes, *arrays: Any) -> None:
        """Has the evaluator built; a message will say whether it is."""
        self.pending = self.actor.start.remote(recipe, *arrays)

    def begin(self, trial: Trial, stopping: StoppingRule, limit_s: float | None) -> None:
        """Has a trial evaluated; messages will come."""
        self.trial = trial
        self.deadline = None if limit_s is None else working_s() + limit_s
        self.pending = self.actor.evaluate.options(num_returns="streaming").remote(trial, stopping)

    def end(self) -> Trial:
        """The trial that was under way."""
        trial, self.trial, self.deadline, self.pending = self.taken, None, None, None
        return trial

    def receive(self) -> Message | Answer:
        """The message that has arrived."""
        if self.trial is None:
            answer: Answer = self._ray.get(self.pending)
            self.pending = None
            return answer
        message: Message = self._ray.get(next(self.pending))
        return message


def _import_ray() -> Any:
    require_ray()
    for name, value in _SETTINGS.items():
        os.environ.setdefault(name, value)
    import ray
    import ray._private.services
    import ray.exceptions

    return ray
