import dataclasses
import errno
import gc
import math
import weakref
from collections.abc import Callable
from unittest.mock import Mock

import pytest
import torch

from tests.builders import GOOD
from tests.nas.loops import run_trials
from vseg_nas.errors import DataError, NonFiniteError, RunError
from vseg_nas.nas.executors.executor import Failure
from vseg_nas.nas.executors.serial import FREEZE_EVERY, SerialExecutor
from vseg_nas.nas.trial import Evaluation, Progress, Trial, TrialState
from vseg_nas.space import Genotype

TRIALS = [Trial(id_, Genotype.from_tokens([id_, 1, 2, 3, 4]), 10 + id_, TrialState.RUNNING) for id_ in range(3)]


class Scripted:
    """An evaluator that does as it is told."""

    def __init__(self, act: Callable[[Progress], Evaluation]) -> None:
        self.act = act

    def evaluate(self, genotype: Genotype, seed: int, progress: Progress) -> Evaluation:
        return self.act(progress)


def raising(error: BaseException) -> SerialExecutor:
    def act(progress: Progress) -> Evaluation:
        raise error

    return SerialExecutor(Scripted(act))


def test_passes_on_cell_seed_and_progress_and_draws_trials_one_by_one() -> None:
    seen: list[object] = []

    class Evaluator:
        def evaluate(self, genotype: Genotype, seed: int, progress: Progress) -> Evaluation:
            seen.append((genotype, seed))
            progress(1, 2, 0.3)
            return GOOD

    drawn = iter(TRIALS)
    outcomes = run_trials(SerialExecutor(Evaluator()), drawn, lambda *event: seen.append(event))
    assert next(outcomes) == (TRIALS[0], GOOD)
    assert seen == [(TRIALS[0].genotype, 10), (TRIALS[0], 1, 2, 0.3)]
    assert list(drawn) == TRIALS[1:]


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("bad\n  shape"), "error"),
        (RuntimeError("CUDA error: an illegal memory access"), "error"),
        (NonFiniteError("loss is nan at step 3"), "nonfinite"),
        (MemoryError("no room"), "oom"),
        (torch.OutOfMemoryError("CUDA out of memory"), "oom"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes"), "oom"),
    ],
)
def test_what_a_candidate_raises_is_its_failure(error: Exception, kind: str) -> None:
    ((trial, result),) = run_trials(raising(error), TRIALS[:1])
    assert trial == TRIALS[0]
    assert isinstance(result, Failure)
    assert result.kind == kind
    assert str(result).startswith(f"{kind}: {type(error).__name__}(")
    assert " at test_executor.py:" in str(result)
    assert "\n" not in str(result)


def test_a_long_message_is_cut() -> None:
    ((_, result),) = run_trials(raising(ValueError("x" * 10_000)), TRIALS[:1])
    assert len(str(result)) < 500


@pytest.mark.parametrize("metric", ["score", "macc"])
def test_a_score_that_is_no_number_is_a_failure(metric: str) -> None:
    bad = {"score": dataclasses.replace(GOOD, score=math.nan), "macc": dataclasses.replace(GOOD, macc=math.inf)}
    executor = SerialExecutor(Scripted(lambda progress: bad[metric]))
    ((_, result),) = run_trials(executor, TRIALS[:1])
    assert isinstance(result, Failure)
    assert result.kind == "nonfinite"


@pytest.mark.parametrize(
    "error",
    [
        KeyboardInterrupt(),
        SystemExit(1),
        DataError("masks/0001.png: cannot be read"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
)
def test_what_is_nobodys_fault_ends_the_search(error: BaseException) -> None:
    with pytest.raises(type(error)):
        list(run_trials(raising(error), TRIALS))


def test_what_a_listener_raises_is_not_the_candidates_fault() -> None:
    def broken(trial: Trial, epoch: int, epochs: int, score: float | None) -> None:
        raise ZeroDivisionError

    def act(progress: Progress) -> Evaluation:
        progress(1, 2, None)
        return GOOD

    with pytest.raises(ZeroDivisionError):
        list(run_trials(SerialExecutor(Scripted(act)), TRIALS, broken))


def test_a_lost_gpu_fails_one_candidate_and_ends_the_search(monkeypatch: pytest.MonkeyPatch) -> None:
    error = RuntimeError("CUDA error: device-side assert triggered")  # all that torch says of it afterwards
    monkeypatch.setattr("torch.cuda.is_initialized", lambda: True)
    monkeypatch.setattr("torch.cuda.synchronize", Mock(side_effect=error))
    monkeypatch.setattr("torch.cuda.empty_cache", Mock(side_effect=error))
    outcomes = run_trials(raising(error), TRIALS)
    trial, result = next(outcomes)
    assert (trial, isinstance(result, Failure)) == (TRIALS[0], True)
    with pytest.raises(RunError, match="CUDA error: this process can no longer use the GPU"):
        next(outcomes)


def test_nothing_of_a_failed_candidate_stays_in_memory() -> None:
    models: list[weakref.ref[torch.nn.Module]] = []

    def act(progress: Progress) -> Evaluation:
        model = torch.nn.Linear(2, 2)
        model.register_forward_hook(lambda *_: model)  # a cycle, as Lightning makes them
        models.append(weakref.ref(model))
        raise RuntimeError(f"bang {model}")

    gc.disable()
    try:
        for _ in run_trials(SerialExecutor(Scripted(act)), TRIALS):
            assert models[-1]() is None
    finally:
        gc.enable()


def test_the_search_for_garbage_does_not_grow_with_what_the_search_keeps() -> None:
    kept: list[list[int]] = []
    seen: list[int] = []

    def act(progress: Progress) -> Evaluation:
        kept.extend([len(seen)] for _ in range(50))
        seen.append(len(gc.get_objects()))  # without the frozen ones
        return GOOD

    trials = [dataclasses.replace(TRIALS[0], id=id_) for id_ in range(3 * FREEZE_EVERY)]
    frozen = gc.get_freeze_count()
    for _ in run_trials(SerialExecutor(Scripted(act)), trials):
        pass
    assert gc.get_freeze_count() <= frozen
    first, last = seen[:FREEZE_EVERY], seen[-FREEZE_EVERY:]
    assert max(first) - min(first) > 40 * FREEZE_EVERY
    assert max(last) < max(first) + 10 * FREEZE_EVERY
