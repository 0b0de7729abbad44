"""The loop over a video: frame in, labels out, in constant memory."""

import time
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import islice

from vseg_nas.video.frames import Frame, FrameSource, Image
from vseg_nas.video.keys import KeyPolicy
from vseg_nas.video.labeller import Labeller

WARM_UP = 3
"""First frames of each kind that times leave out, as `benchmark` does: they choose algorithms and take memory."""

_MOST_TIMES = 100_000


@dataclass(frozen=True)
class Labelled:
    """One frame with its labels.

    Attributes:
        frame: as it came.
        labels: (H, W) uint8, class ids.
        key: whether it was a key frame.
        ms: from the normalised frame to the labels at the source's size, in milliseconds.
        changed: share of pixels whose label differs from the frame before; None at the first of a clip.
    """

    frame: Frame
    labels: Image
    key: bool
    ms: float
    changed: float | None


@dataclass
class Tally:
    """What was seen of a video, bounded in memory.

    Attributes:
        frames: labelled.
        keys: of them key frames.
        key_ms: times of the newest key frames, without the first three.
        dynamic_ms: of the newest others.
    """

    frames: int = 0
    keys: int = 0
    key_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_TIMES))
    dynamic_ms: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_TIMES))

    def add(self, labelled: Labelled) -> None:
        """Takes a frame in."""
        self.frames += 1
        self.keys += labelled.key
        seen, times = (self.keys, self.key_ms) if labelled.key else (self.frames - self.keys, self.dynamic_ms)
        if seen > WARM_UP:
            times.append(labelled.ms)


def label_video(
    source: FrameSource, labeller: Labeller, keys: KeyPolicy, most: int | None = None
) -> Iterator[Labelled]:
    """Labels a video from its first frame on, or several: each clip of the source begins with a key frame.

    Args:
        source: of the frames.
        labeller: reset before each clip.
        keys: picks the key frames.
        most: stop after so many frames; None: at the end.
    """
    clip: str | None = None
    before: Image | None = None
    for frame in islice(source, most):
        begins = frame.clip != clip
        if begins:
            labeller.reset()
            clip, before = frame.clip, None
        key = keys.wants_key(frame.image) or begins
        prepared = labeller.prepare(frame.image)
        start = time.perf_counter()
        labels = labeller.label(prepared, key, source.size)
        ms = 1e3 * (time.perf_counter() - start)
        keys.told(key, labeller.confidence() if keys.reads_confidence else 0.0)
        changed = None if before is None else float((labels != before).mean())
        before = labels
        yield Labelled(frame, labels, key, ms, changed)
