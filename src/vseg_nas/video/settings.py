"""Settings of the policies that decide which frames are key frames."""

from typing import Annotated, Literal

from pydantic import Field

from vseg_nas.settings import Positive, PositiveNumber, Settings


class EveryKSettings(Settings):
    """Key frames at a steady pace.

    Attributes:
        every: The number of frames from one key frame to the next; None makes only the first frame one.
    """

    name: Literal["every"] = "every"
    every: Positive | None


class AdaptiveSettings(Settings):
    """Key frames where they are needed; see `vseg_nas.video.key_frames.Adaptive`.

    Attributes:
        every: The largest number of frames from one key frame to the next; None sets no limit.
        cut: The difference to the previous frame above which a frame begins a new scene.
        drop: The loss of confidence since the last key frame above which the next frame is one.
    """

    name: Literal["adaptive"] = "adaptive"
    every: Positive | None
    cut: PositiveNumber
    drop: PositiveNumber


KeySettings = Annotated[EveryKSettings | AdaptiveSettings, Field(discriminator="name")]
