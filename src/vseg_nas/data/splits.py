"""Meta-train and meta-val: the training clips cut in two (paper, section 4.1), and what leaks."""

from collections import Counter
from dataclasses import dataclass
from typing import Literal

import numpy as np

from vseg_nas.data.clip import ClipSource
from vseg_nas.errors import ConfigError, DataError

Mode = Literal["random", "by_run"]


@dataclass(frozen=True)
class MetaSplit:
    """Indices of the clips on either side, ascending."""

    train: tuple[int, ...]
    val: tuple[int, ...]


@dataclass(frozen=True)
class LeakReport:
    """How much of the validation side the training side gives away.

    Attributes:
        val: Number of validation clips.
        sharing_frame: Those that hold a frame of a training clip.
        near: Those with a frame that a training clip has within `distance` frames in the same run.
        sharing_run: Those cut from a run that a training clip was cut from.
        distance: What counts as near, in frames.
    """

    val: int
    sharing_frame: int
    near: int
    sharing_run: int
    distance: int

    def summary(self) -> str:
        """One line for logs and reports."""
        return (
            f"of {self.val} validation clips {self.sharing_frame} share a frame with training clips, "
            f"{self.near} are within {self.distance} frames of one, {self.sharing_run} share a run"
        )


def meta_split(source: ClipSource, fraction: float = 0.1, mode: Mode = "random", seed: int = 0) -> MetaSplit:
    """Cut a source in two.

    Args:
        source: Training clips.
        fraction: Share of the validation side.
        mode: `random` deals single clips, as the paper does, and so puts neighbours on both sides. `by_run`
            deals whole runs, in random order, each to validation if that brings it closer to its share.
        seed: Seed of the deal.

    Raises:
        ConfigError: The fraction is not between 0 and 1, or there is only one run to deal.
        DataError: There are not two clips.
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
    held_out = _choose_runs(Counter(source.runs), fraction * len(source), rng)
    train = tuple(i for i, run in enumerate(source.runs) if run not in held_out)
    val = tuple(i for i, run in enumerate(source.runs) if run in held_out)
    return MetaSplit(train, val)


def _choose_runs(sizes: Counter[str], target: float, rng: np.random.Generator) -> set[str]:
    """Deal runs in random order while that brings their total closer to the target; some, but not all."""
    if len(sizes) < 2:
        raise ConfigError("meta split: found a single run, expected two or more for by_run; use random")
    names = list(sizes)
    order = [names[i] for i in rng.permutation(len(names))]
    chosen: set[str] = set()
    total = 0
    for run in order:
        closer = abs(total + sizes[run] - target) < abs(total - target)
        if closer and len(chosen) < len(sizes) - 1:
            chosen.add(run)
            total += sizes[run]
    return chosen or {min(order, key=lambda run: sizes[run])}


def leak_report(source: ClipSource, split: MetaSplit, distance: int = 5) -> LeakReport:
    """Count how many validation clips the training clips overlap, neighbour or share a run with."""
    seen = {(source.runs[i], frame) for i in split.train for frame in source.frame_ids[i]}
    nearby = {(run, frame + step) for run, frame in seen for step in range(-distance, distance + 1)}
    runs = {source.runs[i] for i in split.train}

    def touching(frames: set[tuple[str, int]]) -> int:
        return sum(any((source.runs[i], frame) in frames for frame in source.frame_ids[i]) for i in split.val)

    return LeakReport(
        val=len(split.val),
        sharing_frame=touching(seen),
        near=touching(nearby),
        sharing_run=sum(source.runs[i] in runs for i in split.val),
        distance=distance,
    )
