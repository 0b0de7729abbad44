"""Prediction by onnxruntime, without torch."""

import os
from pathlib import Path

import numpy as np

from vseg_nas.errors import DataError
from vseg_nas.graphs.sessions import describe_runtime, open_session
from vseg_nas.pictures import Image, Size
from vseg_nas.video.predictor import Floats, Predictor, likeliest


class OnnxPredictor(Predictor):
    """A `Predictor` that runs the two graphs of a folder that `export format=onnx output=logits` wrote.

    Args:
        folder: The folder with ``key_frame.onnx`` and ``next_frame.onnx``.
        size: Height and width in pixels to which frames are resized; None means the size that the network was
            trained for, or that of the source if there was none.
        accelerator: The device to compute on: ``auto``, ``cpu`` or ``cuda``.
        threads: The number of threads of one operator; None means one per core.

    Raises:
        ConfigError: The device does not exist.
        DataError: The graphs cannot be used.
    """

    def __init__(self, folder: Path, size: Size | None, accelerator: str = "cpu", threads: int | None = None) -> None:
        self._key, metadata = open_session(folder / "key_frame.onnx", accelerator, threads)
        self._next, other = open_session(folder / "next_frame.onnx", accelerator, threads)
        if metadata != other:
            raise DataError(f"{folder}: key_frame.onnx and next_frame.onnx are not of one network")
        if metadata.output != "logits":
            raise DataError(f"{folder}: found graphs that give {metadata.output}, expected `export output=logits`")
        super().__init__(metadata.classes, metadata.palette, metadata.mean, metadata.std, size or metadata.size)
        self.name = metadata.name
        self.runtime = describe_runtime(self._key)
        self._reads = {entry.name for entry in self._next.get_inputs()}
        self._left = [entry.name.removeprefix("next_") for entry in self._key.get_outputs()[1:]]
        self._state: dict[str, Floats] | None = None
        self._logits: Floats | None = None
        self._process = os.getpid()

    def predict(self, frame: Floats, key: bool, size: Size) -> Image:
        """Predicts the labels of a prepared frame, see `Predictor`.

        Raises:
            ValueError: The size has changed, and this is not a key frame.
            RuntimeError: Another thread is calling this predictor, or the process was forked.
        """
        if os.getpid() != self._process:  # the threads of the sessions exist in the parent only
            raise RuntimeError(
                "predictor: found a process that was forked, expected the one that made it; make one here"
            )
        with self.exclusive:
            self.check_size(size, key or self._state is None)
            if self._state is None or key:
                logits, *state = self._key.run(None, {"frame": frame})
            else:
                feeds = {"frame": frame, **self._state}
                logits, *state = self._next.run(None, {k: v for k, v in feeds.items() if k in self._reads})
            self._state, self._logits = dict(zip(self._left, state, strict=True)), logits[0]
            return likeliest(logits[0], (frame.shape[-2], frame.shape[-1]), size)

    def confidence(self) -> float:
        """Returns the confidence of the last frame, see `Predictor`."""
        with self.exclusive:
            if self._logits is None:
                raise ValueError("confidence: found no frame, expected one since reset()")
            odds = np.exp(self._logits - self._logits.max(0))  # relative to the most likely class, whose odds are 1
            return float((1 / odds.sum(0)).mean())

    def reset(self) -> None:
        """Forgets the video, see `Predictor`."""
        with self.exclusive:
            self._state = self._logits = None
