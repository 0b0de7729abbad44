"""Meta-train and meta-val: the training clips divided in two (paper, section 4.1), and how much leaks between them."""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from vseg_nas.data.clip import ClipSource
from vseg_nas.data.settings import SplitMode
from vseg_nas.errors import ConfigError, DataError


@dataclass(frozen=True)
class MetaSplit:
    """The indices of the clips on either side, in ascending order."""

    train: tuple[int, ...]
    val: tuple[int, ...]


@dataclass(frozen=True)
class LeakReport:
    """How many validation clips overlap the training clips, or lie close to them.

    Attributes:
        val: The number of all validation clips.
        sharing_frame: The number of those that share a frame with a training clip.
        near: The number of those with a frame at most `distance` frames away from a training clip's frame.
        sharing_sequence: The number of those cut from the same sequence as a training clip.
        distance: The number of frames that counts as near.
    """

    val: int
    sharing_frame: int
    near: int
    sharing_sequence: int
    distance: int

    def summary(self) -> str:
        """Returns one line for logs and reports."""
        return (
            f"of {self.val} validation clips {self.sharing_frame} share a frame with training clips, "
            f"{self.near} are within {self.distance} frames of one, {self.sharing_sequence} share a sequence"
        )


def meta_split(source: ClipSource, fraction: float = 0.1, mode: SplitMode = "random", seed: int = 0) -> MetaSplit:
    """Divides the clips of a source into a training and a validation side.

    The paper draws single clips (`random`), so almost every validation clip has neighbours among the training clips
    and scores are too high. Dividing by whole sequences (`by_sequence`) avoids that leak; `leak_report` measures it.

    Args:
        source: The clips to divide.
        fraction: The share of the validation side, between 0 and 1.
        mode: `random` draws single clips. `by_sequence` goes through the sequences in random order and moves each whole
            sequence to validation if that brings validation closer to its share.
        seed: The seed of the draw.

    Raises:
        ConfigError: The fraction is not between 0 and 1, or there is only one sequence to divide.
        DataError: There are fewer than two clips.
    """
    if not 0 < fraction < 1:
        raise ConfigError(f"meta split: found fraction {fraction}, expected more than 0 and less than 1")
    if len(source) < 2:
        raise DataError(f"meta split: found {len(source)} clips, expected at least 2")
    rng = np.random.default_rng(seed)
    if mode == "random":
        order = rng.permutation(len(source)).tolist()
        cut = max(1, int(len(source) * (1 - fraction)))
        return MetaSplit(tuple(sorted(order[:cut])), tuple(sorted(order[cut:])))
    held_out = _choose_sequences(Counter(source.sequences), fraction * len(source), rng)
    train = tuple(i for i, sequence in enumerate(source.sequences) if sequence not in held_out)
    val = tuple(i for i, sequence in enumerate(source.sequences) if sequence in held_out)
    return MetaSplit(train, val)


def without_shared_frames(source: ClipSource, split: MetaSplit) -> MetaSplit:
    """Returns a split whose training side has lost the clips that share a frame with a validation clip."""

    def frames(index: int) -> set[tuple[str, int]]:
        return {(source.sequences[index], frame) for frame in source.frame_ids[index]}

    held_out = set[tuple[str, int]]().union(*map(frames, split.val))
    return MetaSplit(tuple(i for i in split.train if not frames(i) & held_out), split.val)


def _choose_sequences(sizes: Counter[str], target: float, rng: np.random.Generator) -> set[str]:
    """Chooses sequences in random order while that brings their total closer to the target: at least one, never all."""
    if len(sizes) < 2:
        raise ConfigError("meta split: found a single sequence, expected two or more for by_sequence; use random")
    names = list(sizes)
    order = [names[i] for i in rng.permutation(len(names))]
    chosen: set[str] = set()
    total = 0
    for sequence in order:
        closer = abs(total + sizes[sequence] - target) < abs(total - target)
        if closer and len(chosen) < len(sizes) - 1:
            chosen.add(sequence)
            total += sizes[sequence]
    # Every sequence may be longer than twice the target. Then the shortest one is the closest to it.
    return chosen or {min(order, key=lambda sequence: sizes[sequence])}


def leak_report(source: ClipSource, split: MetaSplit, distance: int = 5) -> LeakReport:
    """Counts the validation clips that share a frame or sequence with training clips, or are near one.

    Args:
        source: The clips that were divided.
        split: The indices of the clips on either side.
        distance: The number of frames that counts as near.
    """
    seen = {(source.sequences[i], frame) for i in split.train for frame in source.frame_ids[i]}
    nearby = {(sequence, frame + step) for sequence, frame in seen for step in range(-distance, distance + 1)}
    sequences = {source.sequences[i] for i in split.train}

    def touching(frames: set[tuple[str, int]]) -> int:
        return sum(any((source.sequences[i], frame) in frames for frame in source.frame_ids[i]) for i in split.val)

    return LeakReport(
        val=len(split.val),
        sharing_frame=touching(seen),
        near=touching(nearby),
        sharing_sequence=sum(source.sequences[i] in sequences for i in split.val),
        distance=distance,
    )
