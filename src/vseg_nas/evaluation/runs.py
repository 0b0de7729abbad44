"""Runs of successive frames, and which of them the rolling protocol labels.

Legend: T frames of a clip, K frames from one key frame to the next, d frames since the last key frame.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from vseg_nas.data import ClipSource, RawClip
from vseg_nas.data.image_files import FileClips


class Place(NamedTuple):
    """Where a frame lies in a source: in which clip, and at which place of it."""

    clip: int
    frame: int


@dataclass(frozen=True)
class Run:
    """Successive frames of one video; iterating reads them as clips of T = 1."""

    source: ClipSource
    places: tuple[Place, ...]

    def __len__(self) -> int:
        return len(self.places)

    def __iter__(self) -> Iterator[tuple[Place, RawClip]]:
        if isinstance(self.source, FileClips):  # of its clips a run may need some frames alone
            for place in self.places:
                yield place, self.source.part(place.clip, (place.frame,))
            return
        for clip, places in groupby(self.places, key=lambda place: place.clip):
            raw = self.source[clip]
            for place in places:
                frame = place.frame
                yield place, RawClip((raw.frames[frame],), (raw.masks[frame],), (raw.names[frame],))

    def last(self, frames: int) -> "Run":
        """The last so many frames, a run of their own."""
        return Run(self.source, self.places[-frames:])


@dataclass(frozen=True)
class Footage:
    """All runs of a split.

    Attributes:
        classes: names of the K classes.
        runs: that no frame is missing in.
        frame_seconds: time from a frame to the next; None where it is not known.
        last_alone: whether the last frame of each run is its only labelled one, as in CityScapes.
    """

    classes: tuple[str, ...]
    runs: tuple[Run, ...]
    frame_seconds: float | None
    last_alone: bool

    def to_score(self, key_every: int | None) -> tuple[Run, ...]:
        """The runs that the rolling protocol labels; each starts with a key frame.

        Where the last frame of a run is the only labelled one, the protocol has it at every distance d = 0 ... K-1 in
        turn, by starting d frames before it.
        """
        if not self.last_alone or key_every is None:
            return self.runs
        return tuple(run.last(d + 1) for run in self.runs for d in range(key_every) if d < len(run))

    @property
    def refusal(self) -> str | None:
        """Why whole runs cannot be scored, in one line; None if they can."""
        if max(map(len, self.runs)) < 2:
            return "no two successive frames are labelled"
        return None


def footage_of(source: ClipSource) -> Footage:
    """The footage of a source of single frames, all labelled, or of clips whose last frame alone is labelled."""
    if source.length == 1:
        runs = _joined(source)
    else:
        runs = [tuple(Place(clip, frame) for frame in range(source.length)) for clip in range(len(source))]
    found = tuple(Run(source, places) for places in runs)
    return Footage(source.classes, found, source.frame_seconds, last_alone=source.length > 1)


def _joined(source: ClipSource) -> list[tuple[Place, ...]]:
    """Single frames, run by run and in order; a missing frame ends a run.

    Frames of CityScapes that share a name may be parts of one long drive, hundreds of frames apart.
    """
    ordered = sorted((source.sequences[index], source.frame_ids[index][0], index) for index in range(len(source)))
    runs: list[list[Place]] = []
    for position, (name, frame, index) in enumerate(ordered):
        if position and ordered[position - 1][:2] == (name, frame - 1):
            runs[-1].append(Place(index, 0))
        else:
            runs.append([Place(index, 0)])
    return [tuple(run) for run in runs]
