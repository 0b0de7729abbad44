"""Video sequences of a split, and which of their frames the rolling protocol labels.

Legend: T frames of a clip, K frames from one key frame to the next, d frames since the last key frame.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from vseg_nas.data import ClipSource, RawClip
from vseg_nas.data.image_files import FileClips


class FrameIndex(NamedTuple):
    """The index of a clip in a source, and the index 0..T-1 of a frame in that clip."""

    clip: int
    frame: int


@dataclass(frozen=True)
class VideoSequence:
    """Successive frames of one video; iterating over it reads them as clips of T = 1."""

    source: ClipSource
    frames: tuple[FrameIndex, ...]

    def __len__(self) -> int:
        return len(self.frames)

    def __iter__(self) -> Iterator[tuple[FrameIndex, RawClip]]:
        if isinstance(self.source, FileClips):  # reads single frames, since a sequence may need only some of a clip
            for index in self.frames:
                yield index, self.source.part(index.clip, (index.frame,))
            return
        for clip, indices in groupby(self.frames, key=lambda index: index.clip):
            raw = self.source[clip]
            for index in indices:
                t = index.frame
                yield index, RawClip((raw.frames[t],), (raw.masks[t],), (raw.names[t],))

    def last(self, frames: int) -> "VideoSequence":
        """Returns the sequence of the last ``frames`` frames."""
        return VideoSequence(self.source, self.frames[-frames:])


@dataclass(frozen=True)
class SplitSequences:
    """All sequences of a split.

    Attributes:
        classes: The names of the classes.
        sequences: The sequences; no frame is missing within one.
        frame_seconds: The time from a frame to the next, in seconds; None if it is not known.
        only_last_labelled: Whether the last frame of each sequence is its only labelled one, as in CityScapes.
    """

    classes: tuple[str, ...]
    sequences: tuple[VideoSequence, ...]
    frame_seconds: float | None
    only_last_labelled: bool

    def to_score(self, key_every: int | None) -> tuple[VideoSequence, ...]:
        """Returns the sequences that the rolling protocol labels; each starts with a key frame.

        If only the last frame of a sequence is labelled, the protocol scores it at every distance d = 0 ... K-1 in
        turn, by starting d frames before it.

        Args:
            key_every: K; None means that only the first frame of a sequence is a key frame.
        """
        if not self.only_last_labelled or key_every is None:
            return self.sequences
        return tuple(s.last(d + 1) for s in self.sequences for d in range(key_every) if d < len(s))

    @property
    def skip_reason(self) -> str | None:
        """Why full sequences cannot be scored, in one line; None if they can."""
        if max(map(len, self.sequences)) < 2:
            return "no two successive frames are labelled"
        return None


def sequences_of(source: ClipSource) -> SplitSequences:
    """Returns the sequences of a source of single labelled frames, or of clips whose last frame is the labelled one."""
    if source.length == 1:
        found = _chained(source)
    else:
        found = [tuple(FrameIndex(clip, t) for t in range(source.length)) for clip in range(len(source))]
    sequences = tuple(VideoSequence(source, frames) for frames in found)
    return SplitSequences(source.classes, sequences, source.frame_seconds, only_last_labelled=source.length > 1)


def _chained(source: ClipSource) -> list[tuple[FrameIndex, ...]]:
    """Returns single frames as sequences, in order; a missing frame ends a sequence.

    Frames of CityScapes that share a name may be parts of one long drive, hundreds of frames apart.
    """
    ordered = sorted((source.sequences[index], source.frame_ids[index][0], index) for index in range(len(source)))
    sequences: list[list[FrameIndex]] = []
    for position, (name, frame, index) in enumerate(ordered):
        if position and ordered[position - 1][:2] == (name, frame - 1):
            sequences[-1].append(FrameIndex(index, 0))
        else:
            sequences.append([FrameIndex(index, 0)])
    return [tuple(frames) for frames in sequences]
