"""Real clips and stills side by side, and the transform that makes clips at video rate of the stills.

Legend: T frames.
"""

from collections.abc import Sequence
from dataclasses import astuple

import numpy as np

from vseg_nas.data.clip import Clip, ClipSource, RawClip
from vseg_nas.data.motion import Motion, Simulation
from vseg_nas.data.transforms import ClipTransform
from vseg_nas.errors import ConfigError


class ClipsAndStills:
    """A `ClipSource` of real clips, of T frames each, and of stills, which are clips of one frame.

    `Moving` makes T frames of a still. The real clips come first. Of the stills as many are taken, spread evenly, as
    the share asks for; where there are too few, they repeat.

    Args:
        clips: The real clips; not read where the share is 1.
        stills: Clips of one frame of the same data set.
        share: Of stills among all clips, above 0; 1 takes every still once.

    Raises:
        ConfigError: The share is out of range, or what should be stills is not.
    """

    def __init__(self, clips: ClipSource, stills: ClipSource, share: float) -> None:
        if not 0 < share <= 1:
            raise ConfigError(f"share of simulated motion: found {share}, expected more than 0 and at most 1")
        if stills.length != 1:
            raise ConfigError(f"stills: found clips of {stills.length} frames, expected 1")
        real = 0 if share == 1 else len(clips)
        count = len(stills) if share == 1 else max(1, round(real * share / (1 - share)))
        self._parts: list[tuple[ClipSource, int]] = [(clips, index) for index in range(real)]
        self._parts += [
            (stills, index * len(stills) // count if count <= len(stills) else index % len(stills))
            for index in range(count)
        ]
        self._sources = (stills,) if share == 1 else (clips, stills)
        self.classes = clips.classes
        self.palette = clips.palette
        self.length = clips.length
        self.runs = tuple(source.runs[index] for source, index in self._parts)
        self.frame_ids = tuple(
            source.frame_ids[index] if source is clips else source.frame_ids[index] * self.length
            for source, index in self._parts
        )
        self.frame_seconds: float | None = None

    def __len__(self) -> int:
        return len(self._parts)

    def __getitem__(self, index: int) -> RawClip:
        source, place = self._parts[index]
        return source[place]

    def fingerprint(self) -> str:
        """Those of the sources, and which of their clips are taken."""
        digests = " ".join(source.fingerprint() for source in self._sources)
        return f"clips and stills {digests} {len(self)}"


class Moving(ClipTransform):
    """A transform that makes a clip of T frames of a still before anything else; clips of T frames pass.

    Args:
        transform: Applied afterwards, to all frames alike.
        frames: T.
        motion: How camera and objects move.
        classes: Names of the classes.
    """

    def __init__(self, transform: ClipTransform, frames: int, motion: Motion, classes: Sequence[str]) -> None:
        self._transform = transform
        self._simulation = Simulation(frames, motion, tuple(classes))
        self.set_seed(0)

    def set_seed(self, seed: int) -> None:
        """Restarts the stream of draws; equal seeds give equal streams."""
        self._rng = np.random.default_rng((seed, self._simulation.frames))
        self._transform.set_seed(seed)

    def fingerprint(self) -> str:
        """Every parameter of motion and transform, without the seed."""
        simulation = self._simulation
        return f"{simulation.frames} frames of {astuple(simulation.motion)} then {self._transform.fingerprint()}"

    def __call__(self, raw: RawClip) -> Clip:
        """Transforms a clip, taking the next draws of both streams."""
        if len(raw.frames) == 1 < self._simulation.frames:
            raw = self._simulation(raw.frames[0], raw.masks[0], raw.names[0], self._rng)
        return self._transform(raw)
