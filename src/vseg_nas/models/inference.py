"""A faster form of a trained video network, with the same labels.

In evaluation mode a batch norm is a linear map, so one that follows a convolution is folded into its weights. In
channels-last memory, 1x1 and depthwise convolutions are faster on CPUs and GPUs, and this network mostly consists of
them. On CPUs, oneDNN also applies ReLU and ReLU6 in the same pass over memory: the early layers have large planes, and
spend their time on memory.
"""

import copy
import itertools

import torch
from torch import Tensor, nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from vseg_nas.models.aggregations import Conv3d
from vseg_nas.models.deform import DeformConv
from vseg_nas.models.layers import GlobalAveragePool
from vseg_nas.models.video_segmenter import VideoSegmenter


def optimized(segmenter: VideoSegmenter) -> VideoSegmenter:
    """Returns a copy for inference, with folded batch norms and channels-last weights; logits differ by rounding.

    The parameters of the copy do not fit the file format any more; the original is needed to save or train the network.

    Args:
        segmenter: The network, on the device that it will stay on; it is not changed.

    Returns:
        The copy in evaluation mode, without gradients, at the beginning of a video.
    """
    fast = copy.deepcopy(segmenter).reset().eval().requires_grad_(False)
    for module in list(fast.modules()):
        _fold(module)
    if next(fast.parameters()).device.type == "cpu" and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        for module in list(fast.modules()):
            _join(module)
    return fast.eval().to(memory_format=torch.channels_last)  # `eval` again, for the modules that replaced norms


class _AddBias(nn.Module):
    """The bias that is left of the batch norm after a deformable convolution, which has no bias of its own."""

    bias: Tensor

    def __init__(self, bias: Tensor) -> None:
        super().__init__()
        self.register_buffer("bias", bias[:, None, None])

    def forward(self, x: Tensor) -> Tensor:
        """Adds one value per channel to (B, C, H, W)."""
        return x + self.bias


class _FusedConv(nn.Conv2d):
    """A convolution and the ReLU or ReLU6 after it, if there is one, as one operator of oneDNN.

    It is used without an activation too: on one thread, torch does not use oneDNN for 1x1 convolutions of single
    frames.
    """

    then: tuple[str, list[float]]

    def forward(self, x: Tensor) -> Tensor:
        """Convolves (B, C, H, W) to (B, C', H', W')."""
        shape = list(self.padding), list(self.stride), list(self.dilation), self.groups
        out: Tensor = torch.ops.mkldnn._convolution_pointwise(x, self.weight, self.bias, *shape, *self.then, "")
        return out


def _fuse(conv: nn.Conv2d, activation: nn.Module | None = None) -> None:
    to_six: tuple[str, list[float]] = ("hardtanh", [0.0, 6.0])
    conv.__class__ = _FusedConv
    assert isinstance(conv, _FusedConv)
    conv.then = to_six if isinstance(activation, nn.ReLU6) else ("none" if activation is None else "relu", [])


def _join(module: nn.Module) -> None:
    if type(module) is nn.Conv2d:
        _fuse(module)
    if not isinstance(module, nn.Sequential):
        return
    children = [(name, child) for name, child in module.named_children() if not isinstance(child, nn.Identity)]
    for (_, conv), (name, activation) in itertools.pairwise(children):
        if type(conv) is nn.Conv2d and isinstance(activation, nn.ReLU | nn.ReLU6):
            _fuse(conv, activation)
            setattr(module, name, nn.Identity())


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
