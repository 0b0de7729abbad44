"""The static network: MobileNet-v2 encoder and arch2 decoder.

It predicts key frames; on all other frames its encoder runs alone.

Legend: B clips, C channels, H, W size of the frame, K classes.
"""

import json
from pathlib import Path
from reprlib import repr as brief
from typing import NamedTuple, Self

from torch import Tensor, nn

from vseg_nas.errors import DataError
from vseg_nas.labels import IGNORE
from vseg_nas.models.arch2 import Arch2Decoder
from vseg_nas.models.mobilenet_v2 import TAP_CHANNELS, EncoderOutput, MobileNetV2Encoder
from vseg_nas.models.weights import load_weights, read_safetensors, write_safetensors
from vseg_nas.space import strict_json

_FORMAT = "vseg_nas.static/1"


class StaticOutput(NamedTuple):
    """The outputs of the static network for frames (B, 3, H, W).

    Attributes:
        encoder: The taps of the encoder; layers 2, 3 and 4 of the paper are those at 1/8, 1/16 and 1/32.
        dec: (B, 64, H/8, W/8) output of the decoder before the classifier.
        pred: (B, K, H/8, W/8) logits.
        auxiliary: The logits of the auxiliary heads; empty except in training.
    """

    encoder: EncoderOutput
    dec: Tensor
    pred: Tensor
    auxiliary: list[Tensor]


class StaticSegmenter(nn.Module):
    """The network arch2 of the paper (section 3.1).

    Args:
        classes: The names of the K classes, in the order of their ids.
        auxiliary: Whether to build the auxiliary heads, which only training needs.
    """

    def __init__(self, classes: tuple[str, ...], auxiliary: bool = True) -> None:
        super().__init__()
        self.classes = classes
        self.frozen = False
        self.encoder = MobileNetV2Encoder()
        self.decoder = Arch2Decoder(len(classes), auxiliary)

    def encode(self, frames: Tensor, stages: int = len(TAP_CHANNELS)) -> EncoderOutput:
        """Runs the encoder alone on frames (B, 3, H, W), or only its first stages."""
        output: EncoderOutput = self.encoder(frames, stages)
        return output

    def forward(self, frames: Tensor) -> StaticOutput:
        """Predicts frames (B, 3, H, W), normalised with ImageNet's statistics."""
        taps = self.encode(frames)
        return StaticOutput(taps, *self.decoder(taps))

    def freeze(self) -> Self:
        """Freezes the network: it has no gradients, and its batch-norm statistics do not change.

        A later ``train()``, also one of a module that contains it, has no effect. Otherwise one candidate of a search
        would change the network that all of them share.
        """
        self.frozen = True
        self.requires_grad_(False)
        return self.eval()

    def unfreeze(self) -> Self:
        """Undoes `freeze`."""
        self.frozen = False
        return self.requires_grad_(True)

    def train(self, mode: bool = True) -> Self:
        """Sets the mode; a frozen network stays in evaluation mode."""
        return super().train(mode and not self.frozen)

    def save(self, path: Path) -> None:
        """Writes the weights without auxiliary heads, and the class names, as .safetensors, atomically."""
        # Only pre-training uses the auxiliary heads; everything that reads the file would have to skip them.
        state = {k: v for k, v in self.state_dict().items() if not k.startswith("decoder.auxiliary.")}
        write_safetensors(state, {"format": _FORMAT, "classes": json.dumps(self.classes)}, path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a network that `save` wrote, and puts it in evaluation mode.

        Raises:
            DataError: The file is missing, damaged or of another kind.
        """
        if not path.is_file():
            raise DataError(f"{path}: not found, expected the static.safetensors that `pretrain` writes")
        state, metadata = read_safetensors(path)
        if metadata.get("format") != _FORMAT:
            raise DataError(
                f"{path}: format {brief(metadata.get('format'))}, expected {_FORMAT!r} (written by `pretrain`)"
            )
        network = cls(_classes(metadata.get("classes", "null"), path), auxiliary=False)
        load_weights(network, state, path, f"arch2 with {len(network.classes)} classes")
        return network.eval()


def _classes(text: str, path: Path) -> tuple[str, ...]:
    """Parses the names of the classes as `StaticSegmenter.save` writes them.

    Raises:
        DataError: The text is not a list of names.
    """
    try:
        names = strict_json.loads(text)
    except ValueError as error:
        raise DataError(f"{path}: classes: {error}") from error
    if not isinstance(names, list) or not 1 <= len(names) <= IGNORE or not all(isinstance(n, str) for n in names):
        raise DataError(f"{path}: classes: found {brief(names)}, expected 1 to {IGNORE} names")
    return tuple(names)
