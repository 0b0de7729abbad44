"""Clip sources that wrap others: clips in memory, single frames beside clips, and last frames."""

from collections.abc import Sequence

from vseg_nas.data.clip import ClipSource, RawClip
from vseg_nas.errors import ConfigError


class InMemory:
    """A `ClipSource` that reads every clip of another source at most once per process.

    It is for data that are small and read in every epoch.
    """

    def __init__(self, source: ClipSource) -> None:
        self.classes = source.classes
        self.palette = source.palette
        self.length = source.length
        self.sequences = source.sequences
        self.frame_ids = source.frame_ids
        self.frame_seconds = source.frame_seconds
        self._source = source
        self._clips: dict[int, RawClip] = {}

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, index: int) -> RawClip:
        if index not in self._clips:
            self._clips[index] = self._source[index]
        return self._clips[index]

    def fingerprint(self) -> str:
        """Returns the fingerprint of the wrapped source."""
        return self._source.fingerprint()


class ClipsAndSingles:
    """A `ClipSource` of single frames, which a `MotionSimulation` turns into clips of T frames, and of real clips.

    The real clips come first. If there are any, as many single frames are taken, evenly spread, as the share asks for;
    if there are too few of them, they repeat.

    Args:
        singles: Clips of one frame.
        length: The number of frames of the clips that are made from them, T.
        share: The share of single frames among all clips, above 0; 1 takes each of them once and no real clip.
        clips: Real clips of T frames of the same data set; None if the share is 1.

    Attributes:
        parts: The sources.

    Raises:
        ConfigError: There are real clips of another length.
    """

    def __init__(self, singles: ClipSource, length: int, share: float, clips: ClipSource | None) -> None:
        assert singles.length == 1
        assert 0 < share <= 1
        assert (share == 1) == (clips is None)
        if clips is not None and clips.length != length:
            raise ConfigError(f"length: found real clips of {clips.length} frames, expected {length}")
        real = 0 if clips is None else len(clips)
        count = max(1, round(real * share / (1 - share))) if real else len(singles)
        self._clips: list[tuple[ClipSource, int]] = [] if clips is None else [(clips, i) for i in range(real)]
        self._clips += [
            (singles, i * len(singles) // count if count <= len(singles) else i % len(singles)) for i in range(count)
        ]
        self.parts = (singles,) if clips is None else (clips, singles)
        self.classes = singles.classes
        self.palette = singles.palette
        self.length = length
        self.sequences = tuple(source.sequences[i] for source, i in self._clips)
        # All frames of a made clip show what its last frame shows, so for leaks and neighbours they are that frame.
        self.frame_ids: tuple[tuple[int, ...], ...] = tuple(
            source.frame_ids[i] * (length if source is singles else 1) for source, i in self._clips
        )
        self.frame_seconds: float | None = None

    def __len__(self) -> int:
        return len(self._clips)

    def __getitem__(self, index: int) -> RawClip:
        source, i = self._clips[index]
        return source[i]

    def fingerprint(self) -> str:
        """Returns the fingerprints of the sources, and how many clips are taken."""
        return f"{len(self)} clips and single frames of {' '.join(part.fingerprint() for part in self.parts)}"


class LastFrames:
    """A `ClipSource` of the last frame of some clips of another source, as clips of one frame.

    Args:
        source: The clips.
        indices: Which of them.
    """

    def __init__(self, source: ClipSource, indices: Sequence[int]) -> None:
        self.classes = source.classes
        self.palette = source.palette
        self.length = 1
        self.sequences = tuple(source.sequences[i] for i in indices)
        self.frame_ids = tuple(source.frame_ids[i][-1:] for i in indices)
        self.frame_seconds = source.frame_seconds
        self._source = source
        self._indices = tuple(indices)

    def __len__(self) -> int:
        return len(self._indices)

    def __getitem__(self, index: int) -> RawClip:
        raw = self._source[self._indices[index]]
        return RawClip(raw.frames[-1:], raw.masks[-1:], raw.names[-1:])

    def fingerprint(self) -> str:
        """Returns the fingerprint of the clips, and which of them are taken."""
        return f"last frames of {self._indices} of {self._source.fingerprint()}"
