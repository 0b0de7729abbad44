"""What `check` leaves: which files of a data set can be used, and how its classes are distributed."""

from typing import ClassVar, Literal

from vseg_nas.results.result import Amount, Count, Fraction, Record, Result, Text


class FrameSequence(Record):
    """Successive frames without a gap.

    Attributes:
        first: Name of the first frame.
        last: Name of the last frame.
        frames: Number of frames.
    """

    first: Text
    last: Text
    frames: Count


class SplitCheck(Record):
    """The result of checking a split.

    Attributes:
        frames: Number of frames.
        masks: Number of masks.
        seconds_between_frames: Time from a frame to the next; None if it is not known.
        shares: Share of each class among the labelled pixels, and of ``ignored`` among all; empty without masks.
        sequences: Sequences of successive frames.
        problems: One line for each file that cannot be used.
    """

    frames: Count
    masks: Count
    seconds_between_frames: Amount | None
    shares: dict[str, Fraction]
    sequences: tuple[FrameSequence, ...]
    problems: tuple[Text, ...]


class CheckResult(Result):
    """The whole of check.json.

    Attributes:
        dataset: Name of the data set.
        root: Folder of the data set.
        splits: Results of the splits by name.
    """

    FILE: ClassVar[str] = "check.json"

    format: Literal["vseg_nas.check/2"] = "vseg_nas.check/2"
    dataset: Text
    root: Text
    splits: dict[str, SplitCheck]
