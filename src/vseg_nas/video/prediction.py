"""The loop over the frames of a video: a frame in, its prediction out, in constant memory."""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from vseg_nas.pictures import Image
from vseg_nas.video.frames import Frame, FrameSource
from vseg_nas.video.key_frames import KeyPolicy
from vseg_nas.video.predictor import Predictor

WARM_UP = 3
"""Number of first frames of each kind whose times are left out, as in `benchmark`.

Libraries choose algorithms and allocate memory in these frames, so they take longer.
"""

_MOST_TIMES = 100_000


@dataclass(frozen=True)
class Prediction:
    """One frame with its labels.

    Attributes:
        frame: The frame as the source yielded it.
        labels: (H, W) uint8 class ids.
        key: Whether it was a key frame.
        ms: The time from the normalised frame to the labels at the source's size, in milliseconds.
        changed: The share of pixels whose label differs from the previous frame; None at the first of a sequence.
    """

    frame: Frame
    labels: Image
    key: bool
    ms: float
    changed: float | None


@dataclass
class VideoStatistics:
    """Counts and times of the predicted frames of a video, in bounded memory.

    Attributes:
        frames: The number of predicted frames.
        keys: The number of key frames among them.
        key_ms: The times of the last key frames in milliseconds, without those of the warm-up.
        dynamic_ms: The times of the last other frames in milliseconds, without those of the warm-up.
    """

    frames: int = 0
    keys: int = 0
    key_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_TIMES))
    dynamic_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_TIMES))

    def add(self, prediction: Prediction) -> None:
        """Adds a predicted frame."""
        self.frames += 1
        self.keys += prediction.key
        seen, times = (self.keys, self.key_ms) if prediction.key else (self.frames - self.keys, self.dynamic_ms)
        if seen > WARM_UP:
            times.append(prediction.ms)


def predict_video(
    source: FrameSource, predictor: Predictor, keys: KeyPolicy, most: int | None = None
) -> Iterator[Prediction]:
    """Predicts the frames of a source. Each of its sequences begins with a key frame.

    Args:
        source: The source of the frames.
        predictor: The network; it is reset before each sequence.
        keys: Decides which frames are key frames.
        most: The number of frames after which to stop; None goes to the end.
    """
    sequence: str | None = None
    before: Image | None = None
    for frame in islice(source, most):
        begins = frame.sequence != sequence
        if begins:
            predictor.reset()
            sequence, before = frame.sequence, None
        # The policy is asked first in any case, because it compares each frame with the previous one.
        key = keys.is_key_frame(frame.image) or begins
        prepared = predictor.prepare(frame.image)
        start = time.perf_counter()
        labels = predictor.predict(prepared, key, source.size)
        ms = 1e3 * (time.perf_counter() - start)
        keys.update(key, predictor.confidence() if keys.reads_confidence else 0.0)
        changed = None if before is None else float((labels != before).mean())
        before = labels
        yield Prediction(frame, labels, key, ms, changed)
