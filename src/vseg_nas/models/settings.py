"""Settings of the networks. Nothing here loads torch."""

from typing import Annotated, Literal

from vseg_nas.settings import INPUT, FolderName, Settings, Text

LONGEST_SIDE = 2**14
"""The largest height or width of a frame, in pixels, that the files of a network may state."""

MAX_NAME = 100
"""The most characters of the name of a cell, of a class or of a training in the files of a network."""

Past = Literal["previous", "current", "zero"]
"""What a cell reads as the previous frame: that frame, the current frame, or zeros.

The last two are controls, which show how much a cell gains from time. With ``zero`` it is a decoder of single frames.
With ``current`` its past is as good as it can be: layer 4 and dec of the current frame, by the static network.
"""


class StaticSettings(Settings):
    """The static network and its weights.

    Attributes:
        name: The name of its pre-training run.
        encoder_weights: A file of ImageNet's weights, ``imagenet`` to download them, or None for random weights.
        weights: The file of weights that `pretrain` writes and other commands read.
    """

    name: FolderName
    encoder_weights: Annotated[Text | None, INPUT]
    weights: Annotated[Text, INPUT]
