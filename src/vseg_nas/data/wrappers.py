"""Clip sources that wrap another one: one keeps its clips in memory, one freezes its frames."""

from vseg_nas.data.clip import ClipSource, RawClip


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


class StillClips:
    """A `ClipSource` of pairs (t, t): each frame after the first of another source's clips, twice.

    Nothing moves in them. They train the control whose past is the current frame, see `vseg_nas.models.propagation`.
    """

    def __init__(self, source: ClipSource) -> None:
        self.classes = source.classes
        self.palette = source.palette
        self.length = 2
        frames = [(clip, t) for clip in range(len(source)) for t in range(1, source.length)]
        self.sequences = tuple(source.sequences[clip] for clip, _ in frames)
        self.frame_ids: tuple[tuple[int, ...], ...] = tuple((source.frame_ids[clip][t],) * 2 for clip, t in frames)
        self.frame_seconds: float | None = None
        self._frames = frames
        self._source = source

    def __len__(self) -> int:
        return len(self._frames)

    def __getitem__(self, index: int) -> RawClip:
        clip, t = self._frames[index]
        raw = self._source[clip]
        return RawClip((raw.frames[t],) * 2, (raw.masks[t],) * 2, (raw.names[t],) * 2)

    def fingerprint(self) -> str:
        """Returns the fingerprint of the wrapped source, marked as standing still."""
        return f"still {self._source.fingerprint()}"
