"""The static network: MobileNet-v2 encoder and arch2 decoder; labels key frames, and its encoder serves all others.

Legend: B clips, C channels, H, W, K classes.
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
    """What the static network gives for frames (B, 3, H, W).

    Attributes:
        encoder: the taps; layers 2, 3, 4 of the paper are at 1/8, 1/16, 1/32.
        dec: (B, 64, H/8, W/8), the decoder's output before the classifier.
        pred: (B, K, H/8, W/8), logits.
        auxiliary: logits of the auxiliary heads, in training only.
    """

    encoder: EncoderOutput
    dec: Tensor
    pred: Tensor
    auxiliary: list[Tensor]


class StaticSegmenter(nn.Module):
    """arch2 of the paper (section 3.1).

    Args:
        classes: class names in the order of their ids; K = len(classes).
        auxiliary: build the auxiliary heads of training.
    """

    def __init__(self, classes: tuple[str, ...], auxiliary: bool = True) -> None:
        super().__init__()
        self.classes = classes
        self.frozen = False
        self.encoder = MobileNetV2Encoder()
        self.decoder = Arch2Decoder(len(classes), auxiliary)

    def encode(self, frames: Tensor, stages: int = len(TAP_CHANNELS)) -> EncoderOutput:
        """The encoder alone, or its first stages: what runs on every frame."""
        output: EncoderOutput = self.encoder(frames, stages)
        return output

    def forward(self, frames: Tensor) -> StaticOutput:
        """Labels frames (B, 3, H, W), ImageNet-normalised."""
        taps = self.encode(frames)
        return StaticOutput(taps, *self.decoder(taps))

    def freeze(self) -> Self:
        """No gradients, no change of batch-norm statistics, and no later ``train()`` that wakes them."""
        self.frozen = True
        self.requires_grad_(False)
        return self.eval()

    def unfreeze(self) -> Self:
        """Undoes `freeze`: gradients again, and `train` works."""
        self.frozen = False
        return self.requires_grad_(True)

    def train(self, mode: bool = True) -> Self:
        """As in any module; a frozen network stays in evaluation mode."""
        return super().train(mode and not self.frozen)

    def save(self, path: Path) -> None:
        """Writes the weights without auxiliary heads, with the class names, as safetensors; replaces in one step."""
        state = {k: v for k, v in self.state_dict().items() if not k.startswith("decoder.auxiliary.")}
        write_safetensors(state, {"format": _FORMAT, "classes": json.dumps(self.classes)}, path)

    @classmethod
    def load(cls, path: Path) -> Self:
        """Reads a network that `save` wrote, ready for evaluation.

        Raises:
            DataError: the file is missing, damaged or of another kind.
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
    """Names of the classes as `StaticSegmenter.save` writes them.

    Raises:
        DataError: they are something else.
    """
    try:
        names = strict_json.loads(text)
    except ValueError as error:
        raise DataError(f"{path}: classes: {error}") from error
    if not isinstance(names, list) or not 1 <= len(names) <= IGNORE or not all(isinstance(n, str) for n in names):
        raise DataError(f"{path}: classes: found {brief(names)}, expected 1 to {IGNORE} names")
    return tuple(names)
