"""The synthetic data set: drives through generated streets with exact masks, at any size, without files."""

import math
from functools import lru_cache
from typing import Literal

import numpy as np

from vseg_nas.data.clip import RawClip
from vseg_nas.data.street.frame import render
from vseg_nas.data.street.objects import StreetClass
from vseg_nas.data.street.scene import Scene, build_scene
from vseg_nas.errors import ConfigError
from vseg_nas.labels import Colour
from vseg_nas.pictures import Image
from vseg_nas.runs.digests import digest_of

CLASSES = tuple(member.name.lower() for member in StreetClass)
PALETTE: tuple[Colour, ...] = (
    (70, 130, 180), (70, 70, 70), (128, 64, 128), (244, 35, 232),
    (107, 142, 35), (220, 220, 0), (0, 0, 142), (220, 20, 60),
)  # fmt: skip
STEP_SECONDS = 0.1
"""The time in which a scene moves by one step: the camera moves as far per step as a car in town in this time."""

_VERSION = 1
"""To be raised whenever the drawing changes, so that caches of features of the old pictures are not found."""


class SyntheticStreet:
    """Clips of successive frames from generated drives (a `ClipSource`).

    A frame is a pure function of (seed, split, drive, frame, size). Glare, smears on the lens, blur, noise and bad
    exposure last for one frame and hide what the frames around it show, so a network gains from looking back.

    Args:
        clips: The number of clips.
        length: The number of frames in a clip, T.
        size: Height and width in pixels.
        seed: The seed of streets, drives and camera.
        split: The split; the streets of the two splits never coincide.
        frames_per_drive: The number of frames of a drive; it yields `frames_per_drive - length + 1` overlapping clips.
        frame_seconds: The time between successive frames, in seconds.

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
        frames_per_drive: int = 6,
        frame_seconds: float = STEP_SECONDS,
    ) -> None:
        if clips < 1 or length < 1 or frames_per_drive < length or min(size) < 16 or frame_seconds <= 0:
            found = f"{clips} clips of {length} from drives of {frames_per_drive} frames, {size[0]}x{size[1]}"
            raise ConfigError(f"synthetic clips: found {found}; expected 1 or more, not longer than a drive, 16x16 up")
        per_drive = frames_per_drive - length + 1
        self.classes = CLASSES
        self.palette = PALETTE
        self.length = length
        self.sequences = tuple(f"{split}_{clip // per_drive:05}" for clip in range(clips))
        self.frame_ids = tuple(tuple(range(clip % per_drive, clip % per_drive + length)) for clip in range(clips))
        self.frame_seconds: float | None = frame_seconds
        self._per_drive = per_drive
        self._size = size
        self._steps_per_frame = frame_seconds / STEP_SECONDS
        self._frames_per_drive = frames_per_drive
        self._stream = (seed, ("train", "val").index(split))

    def __len__(self) -> int:
        return len(self.sequences)

    def __getitem__(self, index: int) -> RawClip:
        index = range(len(self))[index]
        drive = index // self._per_drive
        pairs = [self._frame(drive, frame) for frame in self.frame_ids[index]]
        names = tuple(f"{self.sequences[index]}_{frame:03}" for frame in self.frame_ids[index])
        return RawClip(tuple(image for image, _ in pairs), tuple(mask for _, mask in pairs), names)

    def fingerprint(self) -> str:
        """Returns the SHA-256 of all parameters and of the version of the drawing."""
        parameters: tuple[object, ...] = (
            _VERSION,
            self._stream,
            self._size,
            self._frames_per_drive,
            self.length,
            len(self),
        )
        if self._steps_per_frame != 1:
            parameters += (self._steps_per_frame,)
        return digest_of(repr(parameters))

    def _frame(self, drive: int, frame: int) -> tuple[Image, Image]:
        scene = _scene((*self._stream, drive), math.ceil(self._frames_per_drive * self._steps_per_frame))
        rng = np.random.default_rng((*self._stream, drive, frame + 1))  # + 1, since 0 is the stream of the scene
        return render(scene, frame * self._steps_per_frame, self._size, rng)


@lru_cache(maxsize=8)
def _scene(stream: tuple[int, ...], steps: int) -> Scene:
    return build_scene(np.random.default_rng((*stream, 0)), steps)
