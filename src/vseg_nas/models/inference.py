"""A trained video network made fast: the same labels from fewer operations.

Batch norms in evaluation mode are linear maps, so those that follow a convolution go into its weights; and in
channels-last memory 1x1 and depthwise convolutions, which this network is made of, are faster on CPUs and GPUs. On CPUs
oneDNN also clips in the same pass over memory, which is what the large early layers spend their time on.
"""

import copy
import itertools

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vseg_nas.models.aggregations import Conv3d
from vseg_nas.models.deform import DeformConv
from vseg_nas.models.layers import GlobalAveragePool
from vseg_nas.models.video import VideoSegmenter


def optimized(segmenter: VideoSegmenter) -> VideoSegmenter:
    """A copy for inference alone, with folded batch norms and channels-last weights; logits differ by rounding.

    Its parameters are not those of the file format any more: keep the original to save or train it.

    Args:
        segmenter: is not changed; on the device that it will stay on.

    Returns:
        In evaluation mode, without gradients, at the beginning of a video.
    """
    fast = copy.deepcopy(segmenter).reset().eval().requires_grad_(False)
    for module in list(fast.modules()):
        _fold(module)
    if next(fast.parameters()).device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        for module in list(fast.modules()):
            _join(module)
    return fast.eval().to(memory_format=torch.channels_last)  # what took the place of a norm is new, so training


class _AddBias(nn.Module):
    """What is left of a batch norm once its scale is in the weights before it."""

    bias: Tensor

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("bias", bias[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) plus one value a channel."""
        return x + self.bias


class _ClippedConv(nn.Module):
    """A convolution and the ReLU or ReLU6 after it, in one operator of oneDNN."""

    def __init__(self, conv: nn.Conv2d, activation: nn.Module) -> None:
        super().__init__()
        self.conv = conv
        to_six: tuple[str, list[float]] = ("hardtanh", [0.0, 6.0])
        self.clip = to_six if isinstance(activation, nn.ReLU6) else ("relu", [])

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, C', H', W')."""
        conv = self.conv
        shape = list(conv.padding), list(conv.stride), list(conv.dilation), conv.groups
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(x, conv.weight, conv.bias, *shape, *self.clip, "")
        return out


def _join(module: nn.Module) -> None:
    if not isinstance(module, nn.Sequential):
        return
    children = [(name, child) for name, child in module.named_children() if not isinstance(child, nn.Identity)]
    for (name, conv), (next_name, activation) in itertools.pairwise(children):
        if isinstance(conv, nn.Conv2d) and isinstance(activation, nn.ReLU | nn.ReLU6):
            setattr(module, name, _ClippedConv(conv, activation))
            setattr(module, next_name, nn.Identity())


def _fold(module: nn.Module) -> None:
    match module:
        case nn.Sequential():
            for (name, conv), (next_name, norm) in itertools.pairwise(list(module.named_children())):
                if isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d):
                    setattr(module, name, fuse_conv_bn_eval(conv, norm))
                    setattr(module, next_name, nn.Identity())
        case GlobalAveragePool() | Conv3d():
            module.conv, module.norm = fuse_conv_bn_eval(module.conv, module.norm), nn.Identity()  # type: ignore[assignment]
        case DeformConv():
            fused = fuse_conv_bn_eval(module.conv, module.norm)
            assert fused.bias is not None
            module.conv, module.norm = fused, _AddBias(fused.bias.detach())  # type: ignore[assignment]
