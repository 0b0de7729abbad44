"""The dynamic cell: a genotype as a network, which computes dec of a frame from the previous one (section 3).

Legend: B clips, C channels, H, W size of the frame.
"""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vseg_nas.models.aggregations import build_aggregation
from vseg_nas.models.arch2 import DEC_CHANNELS
from vseg_nas.models.layers import conv_bn_relu, enlarge, enlarge_to_finest
from vseg_nas.models.mobilenet_v2 import TAP_CHANNELS
from vseg_nas.models.operations import build_operation
from vseg_nas.space.genotype import Genotype, Layer
from vseg_nas.space.vocabulary import DEC_STRIDE, INPUTS, STREAMING

_, _LAYER2, _LAYER3, _LAYER4 = TAP_CHANNELS
INPUT_CHANNELS = (_LAYER4, DEC_CHANNELS, _LAYER2, _LAYER3, _LAYER4)  # in the order of vocabulary.INPUTS
FARTHEST = 8
"""The distance from the key frame, in frames, beyond which a cell does not tell distances apart."""


def _with_channels(c_in: int, c_out: int) -> nn.Module:
    """Returns what brings a map to another number of channels."""
    if c_in > 1:
        return conv_bn_relu(c_in, c_out)
    # The distance from the key frame. In training it is the same for the whole batch, so batch norm would remove it.
    # It starts without effect and without ReLU, through which nothing would be learnt then.
    conv = nn.Conv2d(1, c_out, 1)
    nn.init.zeros_(conv.weight)
    nn.init.zeros_(conv.bias)  # type: ignore[arg-type]
    return conv


def _match_channels(c_in: int, c_out: int) -> nn.Module:
    return nn.Identity() if c_in == c_out else _with_channels(c_in, c_out)


class CellLayer(nn.Module):
    """One layer of a cell: ``aggregate(op1(x1), op2(x2))`` at the finer resolution and the larger number of channels.

    Args:
        layer: The tokens of the layer.
        channels: The numbers of channels of the two inputs, C1 and C2.
        strides: The strides of the two inputs.

    Attributes:
        channels: The number of channels of the output, max(C1, C2). The side with fewer channels passes through
            1x1 conv-BN-ReLU before it is aggregated.
        stride: The stride of the output, the finer one of the inputs.
    """

    def __init__(self, layer: Layer, channels: tuple[int, int], strides: tuple[int, int]) -> None:
        super().__init__()
        self.channels, self.stride = max(channels), min(strides)
        self._strides = strides
        channels1, channels2 = channels
        self.side1 = nn.Sequential(build_operation(layer.op1, channels1), _match_channels(channels1, self.channels))
        self.side2 = nn.Sequential(build_operation(layer.op2, channels2), _match_channels(channels2, self.channels))
        self.aggregate = build_aggregation(layer.aggregation, self.channels)

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Evaluates the layer.

        Args:
            x1: (B, C1, h1, w1) the first input.
            x2: (B, C2, h2, w2) the second input.

        Returns:
            (B, max(C1, C2), h, w), where h and w are those of the finer input.
        """
        # Operations run before enlarging, on the smaller plane, where they cost least and see most of the frame.
        out: Tensor = self.aggregate(*enlarge_to_finest((self.side1(x1), self.side2(x2)), self._strides))
        return out


class DynamicCell(nn.Module):
    """Computes dec of a frame from layer 4 and dec of the previous frame and from its own encoder layers.

    The inputs that the genotype reads first pass through 1x1 conv-BN-ReLU, which brings them to the width of the cell;
    in a ``native`` cell they keep their channels. The layers that no other layer reads are concatenated at the finest
    resolution among them and reduced to dec.

    Args:
        genotype: The layout of the cell.
        input_channels: The numbers of channels of the paper's five inputs, in the order of the arguments of `forward`.
        dec_channels: The number of channels of dec.

    Attributes:
        reads: The names of the inputs that the cell reads; `forward` takes anything for the others.
    """

    def __init__(
        self,
        genotype: Genotype,
        input_channels: tuple[int, int, int, int, int] = INPUT_CHANNELS,
        dec_channels: int = DEC_CHANNELS,
    ) -> None:
        super().__init__()
        self.genotype = genotype
        inputs = genotype.vocabulary.inputs
        self.reads = frozenset(inputs[source] for source in genotype.reads)
        channels = dict(zip(INPUTS, input_channels, strict=True))
        channels |= {"prev_layer2": channels["layer2"], "distance": 1}
        pool, strides = [channels[name] for name in inputs], list(genotype.vocabulary.input_strides)
        self.adapters = nn.ModuleDict()
        if genotype.width != "native":
            # Inputs that no layer reads get no adapter, so the number of parameters is that of what is computed.
            for source in sorted(genotype.reads):
                self.adapters[inputs[source]] = _with_channels(pool[source], genotype.width)
                pool[source] = genotype.width
        self.layers = nn.ModuleList()
        # A layer may read any earlier layer, so channels and strides of each result join those of the inputs.
        for layer in genotype.layers:
            one, other = layer.input1, layer.input2
            module = CellLayer(layer, (pool[one], pool[other]), (strides[one], strides[other]))
            self.layers.append(module)
            pool.append(module.channels)
            strides.append(module.stride)
        self._output_strides = [strides[len(inputs) + index] for index in genotype.outputs]
        self.reduce = conv_bn_relu(sum(pool[len(inputs) + index] for index in genotype.outputs), dec_channels)

    def forward(
        self,
        prev_layer4: Tensor,
        prev_dec: Tensor,
        layer2: Tensor,
        layer3: Tensor,
        layer4: Tensor,
        prev_layer2: Tensor | None = None,
        distance: Tensor | None = None,
    ) -> Tensor:
        """Computes dec of the current frame.

        Args:
            prev_layer4: (B, 320, H/32, W/32) layer 4 of the previous frame.
            prev_dec: (B, 64, H/8, W/8) dec of the previous frame.
            layer2: (B, 32, H/8, W/8) layer 2 of the current frame.
            layer3: (B, 96, H/16, W/16) layer 3 of the current frame.
            layer4: (B, 320, H/32, W/32) layer 4 of the current frame.
            prev_layer2: (B, 32, H/8, W/8) layer 2 of the previous frame.
            distance: (B, 1, 1, 1) number of frames from the last key frame to the current frame.

        Returns:
            (B, 64, H/8, W/8) dec of the current frame.
        """
        plane = None
        if "distance" in self.reads:
            assert distance is not None
            shares = (distance.clamp(max=FARTHEST) / FARTHEST).to(layer2.dtype)
            plane = shares.expand(-1, -1, layer2.shape[-2], layer2.shape[-1])
        planes = (prev_layer4, prev_dec, layer2, layer3, layer4, prev_layer2, plane)
        given: dict[str, Any] = dict(zip(STREAMING.inputs, planes, strict=True))
        given |= {name: adapter(given[name]) for name, adapter in self.adapters.items()}
        inputs = self.genotype.vocabulary.inputs
        pool = [given[name] for name in inputs]
        for layer, module in zip(self.genotype.layers, self.layers, strict=True):
            pool.append(module(pool[layer.input1], pool[layer.input2]))
        outputs = [pool[len(inputs) + index] for index in self.genotype.outputs]
        dec = self.reduce(F.relu(torch.cat(enlarge_to_finest(outputs, self._output_strides), 1)))
        # A cell whose outputs all are coarser than 1/8 reduces them there, and dec is enlarged to the plane of layer 2.
        return enlarge(dec, min(self._output_strides) // DEC_STRIDE, (layer2.shape[-2], layer2.shape[-1]))
