"""Settings of data sets and of the augmentation. Nothing here loads torch."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from vseg_nas.settings import EXECUTION, LATER, Amount, Count, Positive, Range, Seed, Settings, Share, Size, Text
from vseg_nas.validators import unexpected

SplitMode = Literal["random", "by_sequence"]
"""How training clips are divided into meta-train and meta-val: by single clips, or by whole sequences."""


_MOST_FRAMES = 20  # of a clip; CityScapes has no more before the annotated frame


class MotionSettings(Settings):
    """How many training clips are made from single labelled frames, and what moves in them from frame to frame.

    A clip that is made so ends with the frame that was labelled. Lengths are shares of the frame's height, so that one
    setting serves every size. Standard deviations are over clips unless stated. The defaults are street scenes at
    15 frames per second: they were fitted to the labelled video of CamVid's val split (`benchmarks/motion.py`).

    Attributes:
        share: The share of training clips that are made from single frames: 0 for none, 1 for all.
        zoom: The standard deviation of the growth of the picture, as driving forwards makes it; it is never negative.
        shift: The standard deviation of the camera's pan, down and across, per frame.
        rotation: The standard deviation of the camera's roll, in radians per frame.
        unsteadiness: The part of these three that is drawn again for every frame, as a share of their deviations.
        centre: The standard deviation of the point that the picture grows from, around a point a little above its
            middle.
        objects: The largest number of objects that move by themselves; the largest objects come first.
        object_shift: The standard deviation of an object's own movement per frame, as a share of the square root of
            its area.
        object_zoom: The standard deviation of an object's own growth per frame.
        noise: The standard deviation of the noise of every pixel and frame, in steps of 8 bits.
        gain: The standard deviation over frames of their brightness around 1.
        blur: The largest standard deviation of a frame's blur in pixels; it is drawn for every frame.
    """

    share: Share = 0.0
    zoom: Amount = 0.025
    shift: Amount = 0.005
    rotation: Amount = 0.003
    unsteadiness: Amount = 0.5
    centre: Amount = 0.1
    objects: Count = 8
    object_shift: Amount = 0.06
    object_zoom: Amount = 0.02
    noise: Amount = 4.0
    gain: Amount = 0.03
    blur: Amount = 0.7


Motion = Annotated[MotionSettings, LATER]


class SyntheticSettings(Settings):
    """Rendered street scenes, which need no files.

    Attributes:
        length: The number of frames in a clip.
        motion: The clips that are made from single frames.
        frames_per_drive: The number of frames of a drive.
        clips: The number of training clips.
        val_clips: The number of validation clips.
        size: Height and width of the frames in pixels.
        seed: The seed of the scenes.
        frame_seconds: The time between successive frames in seconds; in a tenth of a second the camera moves as far as
            a car in town.
    """

    name: Literal["synthetic"] = "synthetic"
    length: Annotated[int, Field(ge=2, le=_MOST_FRAMES)]
    motion: Motion = MotionSettings()
    frames_per_drive: Annotated[int, Field(ge=2)]
    clips: Annotated[int, Field(ge=2)]
    val_clips: Positive
    size: Size
    seed: Seed
    frame_seconds: Annotated[float, Field(ge=0.01, le=10), LATER] = 0.1

    @field_validator("frames_per_drive")
    @classmethod
    def _holds_a_clip(cls, frames: int, info: ValidationInfo) -> int:
        if frames < info.data.get("length", 0):
            raise unexpected("at least dataset.length")
        return frames


class CamVidSettings(Settings):
    """CamVid in the layout of SegNet.

    Attributes:
        root: The folder of the data set.
        length: The number of frames in a clip.
        motion: The clips that are made from single frames.
        stride: The number of frames between the starts of successive clips.
    """

    name: Literal["camvid"] = "camvid"
    root: Annotated[Text | None, EXECUTION]
    length: Annotated[int, Field(ge=2, le=_MOST_FRAMES)]
    motion: Motion = MotionSettings()
    stride: Positive


class CityScapesSettings(Settings):
    """CityScapes in its official layout.

    Attributes:
        root: The folder of the data set.
        length: The number of frames in a clip; only the last one is annotated, but all of a clip that is made from it.
        motion: The clips that are made from single frames.
    """

    name: Literal["cityscapes"] = "cityscapes"
    root: Annotated[Text | None, EXECUTION]
    length: Annotated[int, Field(ge=2, le=_MOST_FRAMES)]
    motion: Motion = MotionSettings()


DatasetSettings = Annotated[SyntheticSettings | CamVidSettings | CityScapesSettings, Field(discriminator="name")]


class TransformSettings(Settings):
    """The augmentation of training clips: random scale, padding to the crop, random crop, mirror, colours.

    Attributes:
        scale: The range of the scale factor.
        crop: Height and width of the crop in pixels.
        flip: Whether clips are mirrored with probability 1/2.
        jitter: The largest relative change of brightness, contrast and saturation.
    """

    scale: Range
    crop: Size
    flip: bool
    jitter: Annotated[float, Field(ge=0, le=0.9)]
