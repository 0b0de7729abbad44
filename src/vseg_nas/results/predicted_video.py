"""What `predict` leaves beside its pictures: how many frames it labelled, and how fast."""

from typing import ClassVar, Literal

from vseg_nas.results.result import Amount, Count, Result, Size, Text
from vseg_nas.results.scores import Quartiles


class PredictionResult(Result):
    """The whole of predict.json.

    Attributes:
        source: Video, folder, camera or address, as it was named.
        checkpoint: File or folder of the network; None means the bundled checkpoint.
        network: Name of the network.
        device: Device, in words.
        size: Height and width of a frame of the source.
        network_size: Height and width at which the network labels.
        rate: Frames per second of the source.
        frames: Number of labelled frames.
        key_frames: The number of them that were key frames.
        skipped: Number of frames that could not be read.
        first_skipped: Why the first of them could not be read; None if all could.
        seconds: Time for all frames, reading and writing included.
        frames_per_second: Labelled frames per second of that time.
        key_ms: Time of a key frame; None without any.
        dynamic_ms: Time of any other frame; None without any.
    """

    FILE: ClassVar[str] = "predict.json"

    format: Literal["vseg_nas.predict/1"] = "vseg_nas.predict/1"
    source: Text
    checkpoint: Text | None
    network: Text
    device: Text
    size: Size
    network_size: Size
    rate: Amount
    frames: Count
    key_frames: Count
    skipped: Count
    first_skipped: Text | None
    seconds: Amount
    frames_per_second: Amount
    key_ms: Quartiles | None
    dynamic_ms: Quartiles | None
