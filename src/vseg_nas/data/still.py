"""Clips in which nothing moves, to tell what time contributes to a network that reads the past."""

from vseg_nas.data.clip import ClipSource, RawClip


class StillClips:
    """A `ClipSource` of pairs (t, t): every frame after the first of another source's clips, twice."""

    def __init__(self, source: ClipSource) -> None:
        self.classes = source.classes
        self.palette = source.palette
        self.length = 2
        places = [(clip, t) for clip in range(len(source)) for t in range(1, source.length)]
        self.runs = tuple(source.runs[clip] for clip, _ in places)
        self.frame_ids: tuple[tuple[int, ...], ...] = tuple((source.frame_ids[clip][t],) * 2 for clip, t in places)
        self.frame_seconds: float | None = None
        self._places = places
        self._source = source

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> RawClip:
        clip, t = self._places[index]
        raw = self._source[clip]
        return RawClip((raw.frames[t],) * 2, (raw.masks[t],) * 2, (raw.names[t],) * 2)

    def fingerprint(self) -> str:
        """That of the wrapped source, and that its clips stand still."""
        return f"still {self._source.fingerprint()}"
