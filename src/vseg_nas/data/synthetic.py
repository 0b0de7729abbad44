"""The embedded data set: drives through generated streets with exact masks, at any size, without files."""

import hashlib
from functools import lru_cache
from typing import Literal

import numpy as np

from vseg_nas.data.clip import Colour, Image, RawClip
from vseg_nas.data.street.frame import render
from vseg_nas.data.street.scene import Scene, build_scene
from vseg_nas.data.street.things import StreetClass
from vseg_nas.errors import ConfigError

CLASSES = tuple(member.name.lower() for member in StreetClass)
PALETTE: tuple[Colour, ...] = (
    (70, 130, 180), (70, 70, 70), (128, 64, 128), (244, 35, 232),
    (107, 142, 35), (220, 220, 0), (0, 0, 142), (220, 20, 60),
)  # fmt: skip
FRAME_SECONDS = 0.1
"""Nominal: a drive moves about as far a frame as a car in town in a tenth of a second."""

_VERSION = 1
"""To be raised with every change of what is drawn: caches must not outlive it."""


class SyntheticStreet:
    """Clips of successive frames from generated drives (a `ClipSource`).

    A frame is a pure function of (seed, split, run, frame, size). Glare, smears on the lens, blur, noise and
    exposure hide in one frame what the frames around it show, so looking back pays.

    Args:
        clips: Number of clips.
        length: Frames per clip, T.
        size: Height and width in pixels.
        seed: Seed of streets, drives and camera.
        split: Streets of the two splits never coincide.
        frames_per_run: Frames of each drive; it yields `frames_per_run - length + 1` overlapping clips.

    Raises:
        ConfigError: A parameter is out of range.
    """

    def __init__(
        self,
        clips: int,
        length: int = 3,
        size: tuple[int, int] = (96, 128),
        seed: int = 0,
        split: Literal["train", "val"] = "train",
        frames_per_run: int = 6,
    ) -> None:
        if clips < 1 or length < 1 or frames_per_run < length or min(size) < 16:
            found = f"{clips} clips of {length} from runs of {frames_per_run} frames, {size[0]}x{size[1]}"
            raise ConfigError(f"synthetic clips: found {found}; expected 1 or more, not longer than a run, 16x16 up")
        per_run = frames_per_run - length + 1
        self.classes = CLASSES
        self.palette = PALETTE
        self.length = length
        self.runs = tuple(f"{split}_{clip // per_run:05}" for clip in range(clips))
        self.frame_ids = tuple(tuple(range(clip % per_run, clip % per_run + length)) for clip in range(clips))
        self.frame_seconds: float | None = FRAME_SECONDS
        self._per_run = per_run
        self._size = size
        self._frames_per_run = frames_per_run
        self._stream = (seed, ("train", "val").index(split))

    def __len__(self) -> int:
        return len(self.runs)

    def __getitem__(self, index: int) -> RawClip:
        index = range(len(self))[index]
        run = index // self._per_run
        pairs = [self._frame(run, frame) for frame in self.frame_ids[index]]
        names = tuple(f"{self.runs[index]}_{frame:03}" for frame in self.frame_ids[index])
        return RawClip(tuple(image for image, _ in pairs), tuple(mask for _, mask in pairs), names)

    def fingerprint(self) -> str:
        """SHA-256 over every parameter and the version of the drawing."""
        parameters = (_VERSION, self._stream, self._size, self._frames_per_run, self.length, len(self))
        return hashlib.sha256(repr(parameters).encode()).hexdigest()

    def _frame(self, run: int, frame: int) -> tuple[Image, Image]:
        scene = _scene((*self._stream, run), self._frames_per_run)
        rng = np.random.default_rng((*self._stream, run, frame + 1))
        return render(scene, frame, self._size, rng)


@lru_cache(maxsize=8)
def _scene(stream: tuple[int, ...], frames: int) -> Scene:
    return build_scene(np.random.default_rng((*stream, 0)), frames)
