"""Settings of data sets and of the augmentation. Nothing here loads torch."""

from typing import Annotated, Literal

from pydantic import Field, ValidationInfo, field_validator

from vseg_nas.settings import EXECUTION, Positive, Range, Seed, Settings, Size, Text
from vseg_nas.validators import unexpected

SplitMode = Literal["random", "by_run"]
"""How training clips are divided into meta-train and meta-val: by single clips, or by whole sequences."""


class SyntheticSettings(Settings):
    """Rendered street scenes, which need no files.

    Attributes:
        length: The number of frames in a clip.
        frames_per_run: The number of frames of a drive.
        clips: The number of training clips.
        val_clips: The number of validation clips.
        size: Height and width of the frames in pixels.
        seed: The seed of the scenes.
    """

    name: Literal["synthetic"] = "synthetic"
    length: Annotated[int, Field(ge=2, le=3)]
    frames_per_run: Annotated[int, Field(ge=2)]
    clips: Annotated[int, Field(ge=2)]
    val_clips: Positive
    size: Size
    seed: Seed

    @field_validator("frames_per_run")
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
        stride: The number of frames between the starts of successive clips.
    """

    name: Literal["camvid"] = "camvid"
    root: Annotated[Text | None, EXECUTION]
    length: Annotated[int, Field(ge=2, le=3)]
    stride: Positive


class CityScapesSettings(Settings):
    """CityScapes in its official layout.

    Attributes:
        root: The folder of the data set.
        length: The number of frames in a clip; only the second one is annotated.
    """

    name: Literal["cityscapes"] = "cityscapes"
    root: Annotated[Text | None, EXECUTION]
    length: Annotated[int, Field(ge=2, le=2)]


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
