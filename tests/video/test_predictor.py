"""Predictors in the hands of users of the Python API: wrong frames, several threads, forked processes."""

from __future__ import annotations

import copy
import os
import pickle
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch

from tests.processes import in_fork
from tests.video.making import bright_corner
from vseg_nas.api import load_predictor, load_static
from vseg_nas.errors import ConfigError
from vseg_nas.video.torch_predictor import TorchPredictor

IMAGE = bright_corner()


@pytest.fixture(scope="module")
def predictor() -> TorchPredictor:
    torch.set_num_threads(1)
    return load_predictor(size=(64, 64))


@pytest.mark.parametrize(
    ("image", "found"),
    [
        (IMAGE.astype(np.float32), "found float32"),
        (np.full((48, 64, 3), np.nan), "found float64"),
        (IMAGE.astype(np.int64), "found int64"),
        (IMAGE > 100, "found bool"),
        (IMAGE[..., 0], r"found uint8 \(48, 64\)"),
        (IMAGE[..., :1], r"found uint8 \(48, 64, 1\)"),
        (np.concatenate([IMAGE, IMAGE[..., :1]], -1), r"found uint8 \(48, 64, 4\)"),
        (IMAGE.transpose(2, 0, 1), r"found uint8 \(3, 48, 64\)"),
        (IMAGE[None], r"found uint8 \(1, 48, 64, 3\)"),
        (IMAGE[:0], r"found uint8 \(0, 64, 3\)"),
        (IMAGE[:, :0], r"found uint8 \(48, 0, 3\)"),
        (np.uint8(3), "found uint8"),
        (IMAGE.tolist(), "found list"),
        (torch.zeros(48, 64, 3, dtype=torch.uint8), "found Tensor"),
        (None, "found NoneType"),
        (IMAGE[:40], r"found \(40, 64\) pixels, expected \(48, 64\) as before"),
        (np.zeros((64, 48, 3), np.uint8), r"found \(64, 48\) pixels, expected \(48, 64\) as before"),
    ],
)
def test_a_wrong_frame_names_what_was_found(predictor: TorchPredictor, image: object, found: str) -> None:
    """And leaves the video as it was."""
    predictor.reset()
    predictor.step(IMAGE)
    expected = copy.deepcopy(predictor).step(IMAGE)
    with pytest.raises(ValueError, match=f"^image: {found}") as error:
        predictor.step(image)  # type: ignore[arg-type]
    assert ", expected " in str(error.value)
    assert np.array_equal(predictor.step(IMAGE), expected)


def test_a_key_frame_or_a_reset_may_change_the_size(predictor: TorchPredictor) -> None:
    predictor.reset()
    assert predictor.step(IMAGE).shape == (48, 64)
    assert predictor.step(IMAGE[:40], key=True).shape == (40, 64)
    predictor.reset()
    assert predictor.step(IMAGE[:, :50]).shape == (48, 50)
    every = load_predictor(key_every=1, size=(64, 64))
    assert [every.step(IMAGE[:side]).shape[0] for side in (48, 30, 1)] == [48, 30, 1]


def test_frames_may_lie_in_memory_as_they_like(predictor: TorchPredictor) -> None:
    predictor.reset()
    for view in (IMAGE[::-1], IMAGE[:, ::-1], IMAGE[..., ::-1], np.asfortranarray(IMAGE)):
        expected = predictor.step(np.ascontiguousarray(view), key=True)
        assert np.array_equal(predictor.step(view, key=True), expected)


@pytest.mark.parametrize("size", [(0, 64), (-1, 64), (64.0, 64), (64,), (64, 64, 3)])
def test_a_wrong_size_names_what_was_found(size: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="size: found"):
        load_predictor(size=size)


@pytest.mark.parametrize("path", ["", " "])
def test_an_empty_path_is_no_bundled_network(path: str) -> None:
    with pytest.raises(ConfigError, match="checkpoint: found an empty value"):
        load_predictor(path)
    with pytest.raises(ConfigError, match="weights: found an empty value"):
        load_static(path)


def test_two_threads_at_once_are_told_so(predictor: TorchPredictor, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that was first goes on, and its labels are those of a thread alone."""
    predictor.reset()
    alone = [predictor.step(IMAGE), predictor.step(IMAGE)]
    predictor.reset()
    inside, leave, advance = threading.Event(), threading.Event(), predictor.segmenter.advance

    def slow(frame: torch.Tensor, key: bool = False) -> None:
        inside.set()
        assert leave.wait(30)
        advance(frame, key)

    monkeypatch.setattr(predictor.segmenter, "advance", slow)
    with ThreadPoolExecutor(1) as other:
        first = other.submit(predictor.step, IMAGE)
        assert inside.wait(30)
        for call in (lambda: predictor.step(IMAGE[::-1]), predictor.reset, predictor.confidence):
            with pytest.raises(RuntimeError, match="found a call of another thread in it, expected one at a time"):
                call()
        leave.set()
        found = [first.result(30), predictor.step(IMAGE)]  # one after the other, threads may change
    assert all(np.array_equal(one, two) for one, two in zip(found, alone, strict=True))


def test_copies_and_pickles_are_predictors(predictor: TorchPredictor) -> None:
    predictor.reset()
    expected = predictor.step(IMAGE)
    for other in (copy.deepcopy(predictor), pickle.loads(pickle.dumps(predictor))):
        other.reset()
        with predictor.exclusive:
            assert np.array_equal(other.step(IMAGE), expected)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("first", ["step", "confidence", "new"])
def test_a_forked_process_labels(first: str) -> None:
    """With a predictor from before the fork, or with one of its own; the threads of libraries are in the parent."""
    image = np.random.default_rng(0).integers(0, 255, (600, 800, 3), dtype=np.uint8)  # shared out among threads
    torch.set_num_threads(2)
    try:
        predictor = load_predictor(size=(240, 320))
        predictor.step(image)

        def label() -> None:
            forked = load_predictor() if first == "new" else predictor
            if first == "confidence":
                forked.confidence()
            assert forked.step(image).shape == (600, 800)

        assert in_fork(label) == 0
    finally:
        torch.set_num_threads(1)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.parametrize("generations", [1, 2])
@pytest.mark.parametrize("call", ["step", "reset", "confidence"])
def test_a_process_forked_during_a_call_of_a_thread_labels(
    predictor: TorchPredictor, monkeypatch: pytest.MonkeyPatch, call: str, generations: int
) -> None:
    """The thread is not in the child, which goes on after the last whole frame; nor in a child of that."""
    predictor.reset()
    predictor.step(IMAGE)
    expected = copy.deepcopy(predictor).step(IMAGE[::-1])
    inside, leave, advance = threading.Event(), threading.Event(), predictor.segmenter.advance

    def slow(frame: torch.Tensor, key: bool = False) -> None:
        inside.set()
        assert leave.wait(60)
        advance(frame, key)

    monkeypatch.setattr(predictor.segmenter, "advance", slow)
    with ThreadPoolExecutor(1) as other:
        first = other.submit(predictor.step, IMAGE)
        assert inside.wait(30)

        def call_it() -> None:
            monkeypatch.undo()
            if call == "step":
                assert np.array_equal(predictor.step(IMAGE[::-1]), expected)
            else:
                getattr(predictor, call)()

        def in_a_child_of_its_own() -> None:
            assert in_fork(call_it) == 0

        status = in_fork(call_it if generations == 1 else in_a_child_of_its_own)
        with pytest.raises(RuntimeError, match="found a call of another thread"):
            predictor.reset()  # here the thread is still in it
        leave.set()
        first.result(30)
    assert status == 0
