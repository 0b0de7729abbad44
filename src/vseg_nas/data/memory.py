"""Clips kept in memory once read, for data that is small and read every epoch."""

from vseg_nas.data.clip import ClipSource, RawClip


class InMemory:
    """A `ClipSource` that reads every clip of another one at most once per process."""

    def __init__(self, source: ClipSource) -> None:
        self.classes = source.classes
        self.palette = source.palette
        self.length = source.length
        self.runs = source.runs
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
        """That of the wrapped source."""
        return self._source.fingerprint()
