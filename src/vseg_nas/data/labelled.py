"""Whether there is anything to learn from, or to score on, before hours are spent."""

from collections.abc import Sequence

from vseg_nas.data.clip import ClipSource
from vseg_nas.errors import DataError
from vseg_nas.labels import IGNORE


def require_labels(source: ClipSource, split: str, indices: Sequence[int] | None = None, key: str = "dataset") -> None:
    """Reads clips until one has a labelled pixel in a frame that counts: of several all after the first.

    Args:
        source: of the clips.
        split: its name, for the complaint.
        indices: which clips; None means all.
        key: where the source is configured, for the complaint.

    Raises:
        DataError: there is none, or a file cannot be used.
    """
    chosen = range(len(source)) if indices is None else indices
    first = min(1, source.length - 1)
    if not any((mask != IGNORE).any() for index in chosen for mask in source[index].masks[first:]):
        raise DataError(f"{key}: found no labelled pixel in {split} (clips: {len(chosen)}), expected some")
