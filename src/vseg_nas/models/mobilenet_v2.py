"""The encoder: MobileNet-v2 without its last 1x1 convolution, with taps at four resolutions.

The blocks are torchvision's, with one addition. The first inverted residual has expansion factor 1. Torchvision has no
expansion layer there; the authors of arch2 have one (32 to 32 channels), and so do we, which gives their 1,812,800
parameters. Torchvision's weights have no values for this layer, so it starts as the identity.
"""

import pickle
from collections import OrderedDict
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torchvision.models import MobileNet_V2_Weights, mobilenet_v2
from torchvision.ops import Conv2dNormActivation

from vseg_nas.errors import DataError, first_line
from vseg_nas.models.weights import check_weights, read_foreign_safetensors, read_pickled

TAP_CHANNELS = (24, 32, 96, 320)
TAP_STRIDES = (4, 8, 16, 32)
_STAGE_ENDS = (4, 7, 14, 18)  # torchvision's feature blocks up to and including each tap
_EXPANSION = "stages.0.expansion"


class EncoderOutput(NamedTuple):
    """The taps of a batch of frames (B, 3, H, W); the sizes of their planes are rounded up.

    Attributes:
        layer1: (B, 24, H/4, W/4) output of the first stage.
        layer2: (B, 32, H/8, W/8) output of the second stage.
        layer3: (B, 96, H/16, W/16) output of the third stage.
        layer4: (B, 320, H/32, W/32) output of the fourth stage.
    """

    layer1: Tensor
    layer2: Tensor
    layer3: Tensor
    layer4: Tensor


class MobileNetV2Encoder(nn.Module):
    """The encoder, from frames (B, 3, H, W), normalised with ImageNet's statistics, to the taps of `EncoderOutput`."""

    def __init__(self) -> None:
        super().__init__()
        features = mobilenet_v2(weights=None).features
        starts = (0, *_STAGE_ENDS[:-1])
        self.stages = nn.ModuleList(features[a:b] for a, b in zip(starts, _STAGE_ENDS, strict=True))
        stem, *blocks = self.stages[0].named_children()
        expansion = Conv2dNormActivation(32, 32, kernel_size=1, activation_layer=nn.ReLU6)
        self.stages[0] = nn.Sequential(OrderedDict([stem, ("expansion", expansion), *blocks]))

    def forward(self, frames: Tensor, stages: int = len(TAP_CHANNELS)) -> EncoderOutput:
        """Computes the taps of the first ``stages``; later stages are not run, and their taps are empty."""
        taps = []
        x = frames
        for stage in self.stages[:stages]:
            x = stage(x)
            taps.append(x)
        return EncoderOutput(*taps, *(x.new_empty(0) for _ in self.stages[stages:]))

    def load_torchvision(self, state: Mapping[str, Tensor], source: str) -> None:
        """Copies the weights of a torchvision ``mobilenet_v2``, except its classifier, so that the taps are the same.

        Args:
            state: The state dict of the torchvision network.
            source: The name of the file, for error messages.

        Raises:
            DataError: Keys or shapes differ from torchvision's.
        """
        own = self.state_dict()
        # A slice of a Sequential keeps the names of its blocks: stages.1.4.conv is torchvision's features.4.conv.
        names = {ours: "features." + ours.split(".", 2)[2] for ours in own if not ours.startswith(_EXPANSION)}
        missing = [theirs for theirs in names.values() if theirs not in state]
        if missing:
            raise DataError(
                f"{source}: no {missing[0]!r} ({len(missing)} of {len(names)} tensors missing), "
                "expected a torchvision mobilenet_v2"
            )
        for ours, theirs in names.items():
            found, expected = state[theirs], own[ours]
            if (found.shape, found.layout) != (expected.shape, expected.layout):
                raise DataError(
                    f"{source}: {theirs!r} has shape {tuple(found.shape)}, expected that of torchvision's mobilenet_v2"
                )
        taken = {ours: state[theirs] for ours, theirs in names.items()}
        check_weights(taken, {ours: own[ours] for ours in names}, Path(source), "torchvision's mobilenet_v2")
        expansion = _identity_expansion(taken["stages.0.0.1.weight"], taken["stages.0.0.1.bias"])
        self.load_state_dict(taken | expansion)


def _identity_expansion(gamma: Tensor, beta: Tensor) -> dict[str, Tensor]:
    """Returns the state of an expansion layer that is the identity, both in evaluation and at the start of training.

    Its input is the output of the stem, which is ReLU6 of a batch norm (gamma, beta). To be the identity in training
    mode too, the batch norm of the expansion has to multiply by the standard deviation that it divides by. So it is
    given the mean and the variance of ReLU6(beta + gamma z) with z standard normal, by quantiles of z.
    """
    z = torch.special.ndtri((torch.arange(1000) + 0.5) / 1000)
    variance, mean = torch.var_mean(nn.functional.relu6(beta[:, None] + gamma[:, None] * z), dim=1)
    return {
        f"{_EXPANSION}.0.weight": torch.eye(32)[:, :, None, None],
        f"{_EXPANSION}.1.weight": (variance + nn.BatchNorm2d(1).eps).sqrt(),
        f"{_EXPANSION}.1.bias": mean,
        f"{_EXPANSION}.1.running_mean": mean,
        f"{_EXPANSION}.1.running_var": variance,
        f"{_EXPANSION}.1.num_batches_tracked": torch.tensor(0),
    }


def read_state_dict(path: Path) -> dict[str, Tensor]:
    """Reads a state dict from .safetensors, or from a .pth or .pt of tensors; nothing in the file is executed.

    Raises:
        DataError: The file is missing or damaged, or holds more than tensors.
    """
    if not path.is_file():
        raise DataError(f"{path}: not found, expected a .safetensors or .pth file of weights")
    if path.suffix == ".safetensors":
        return read_foreign_safetensors(path)[0]
    state = read_pickled(path)
    if not isinstance(state, dict) or not all(isinstance(v, Tensor) for v in state.values()):
        raise DataError(f"{path}: expected a flat dictionary of tensors")
    return state


def load_encoder(encoder: MobileNetV2Encoder, weights: str | None) -> None:
    """Initialises the encoder with stored weights.

    Args:
        encoder: The encoder; it is changed in place.
        weights: ``imagenet`` for torchvision's weights, from its cache or a download; the path of a local file; or
            None to keep the random weights.

    Raises:
        DataError: The file or the download cannot be used.
    """
    if weights is None:
        return
    if weights != "imagenet":
        encoder.load_torchvision(read_state_dict(Path(weights)), weights)
        return
    try:
        state = MobileNet_V2_Weights.IMAGENET1K_V2.get_state_dict(
            progress=False, check_hash=True, map_location="cpu", weights_only=True
        )
    except (OSError, RuntimeError, pickle.UnpicklingError) as error:  # no network, or a damaged file in the cache
        raise DataError(
            f"static.encoder_weights: download of imagenet failed ({first_line(error)}); "
            "give the path of a local .safetensors or .pth file"
        ) from error
    encoder.load_torchvision(state, "imagenet")
