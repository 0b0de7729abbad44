"""The decoder of arch2, the static network that the cells are attached to (Figure 2).

The decoder has a pool of nodes: the taps of the encoder, then the blocks. Each of its three *blocks* joins two nodes of
the pool, which pass through *cells* with the same layout and weights of their own. The blocks that no later block
reads are concatenated and become dec. The layout was found by an earlier search and is fixed here.

Legend: B clips, C channels, H, W size of the frame, K classes.
"""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vseg_nas.models.layers import GlobalAveragePool, conv_bn_relu, enlarge_to_finest
from vseg_nas.models.mobilenet_v2 import TAP_CHANNELS, TAP_STRIDES

DEC_CHANNELS = 64

# The layout of a decoder cell: an operation on x, then entries of (pool index p, pool index q, operation on p,
# operation on q). Each entry adds three nodes to the pool of the cell: the two results and their sum.
_FIRST_OP = "conv_3x3_rate_3"
_ENTRIES = (
    (0, 0, "global_avg_pool", "conv_3x3"),
    (3, 2, "conv_1x1", "conv_3x3"),
    (5, 6, "conv_3x3_rate_3", "conv_1x1"),
)
_CONNECTIONS = ((1, 3), (4, 3), (2, 2))  # nodes 0..3 are the taps at 1/4, 1/8, 1/16, 1/32; 4.. are the blocks


def _node_strides() -> tuple[int, ...]:
    strides = list(TAP_STRIDES)
    for i, j in _CONNECTIONS:
        strides.append(min(strides[i], strides[j]))
    return tuple(strides)


_STRIDES = _node_strides()
AUXILIARY_STRIDES = _STRIDES[len(TAP_STRIDES) :]
"""The strides of the auxiliary logits, one for each block."""


def _operation(name: str, channels: int) -> nn.Module:
    match name:
        case "conv_1x1":
            return conv_bn_relu(channels, channels)
        case "conv_3x3":
            return conv_bn_relu(channels, channels, 3)
        case "conv_3x3_rate_3":
            return conv_bn_relu(channels, channels, 3, dilation=3)
        case _:
            return GlobalAveragePool(channels)


class DecoderCell(nn.Module):
    """The decoder cell: (B, C, h, w) to (B, C, h, w).

    Its output is the sum of the nodes that no entry reads: the result of the first operation and the sum of each entry.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = _operation(_FIRST_OP, channels)
        self.ops = nn.ModuleList(
            nn.ModuleList((_operation(op1, channels), _operation(op2, channels))) for _, _, op1, op2 in _ENTRIES
        )

    def forward(self, x: Tensor) -> Tensor:
        """Evaluates the entries in order, since later ones read the nodes of earlier ones."""
        out: Tensor = self.first(x)
        pool = [x, out]
        for (p, q, _, _), pair in zip(_ENTRIES, self.ops, strict=True):
            left, right = pair[0](pool[p]), pair[1](pool[q])  # type: ignore[index]
            pool += [left, right, left + right]
            out = out + pool[-1]
        return out


class _Side(nn.Sequential):
    """One side of a block: the cell, then 1x1 conv-BN-ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__(DecoderCell(channels), conv_bn_relu(channels, channels))


class _AuxiliaryHead(nn.Sequential):
    """A decoder cell and a 3x3 classifier on a block, used in training only."""

    def __init__(self, channels: int, num_classes: int) -> None:
        super().__init__(DecoderCell(channels), nn.Conv2d(channels, num_classes, 3, padding=1))


def _unread_blocks() -> list[int]:
    read = {node for pair in _CONNECTIONS for node in pair}
    first = len(TAP_CHANNELS)
    return [node for node in range(first, first + len(_CONNECTIONS)) if node not in read]


class Arch2Decoder(nn.Module):
    """The decoder: taps of the encoder to dec, logits and auxiliary logits.

    Args:
        num_classes: The number of classes, K.
        auxiliary: Whether to build the auxiliary heads, which run in training mode only.
    """

    def __init__(self, num_classes: int, auxiliary: bool = True) -> None:
        super().__init__()
        channels = DEC_CHANNELS
        self.adapters = nn.ModuleList(conv_bn_relu(c, channels) for c in TAP_CHANNELS)
        self.blocks = nn.ModuleList(nn.ModuleList((_Side(channels), _Side(channels))) for _ in _CONNECTIONS)
        self.reduce = conv_bn_relu(channels * len(_unread_blocks()), channels)
        self.classifier = nn.Conv2d(channels, num_classes, 3, padding=1)
        heads = len(_CONNECTIONS) if auxiliary else 0
        self.auxiliary = nn.ModuleList(_AuxiliaryHead(channels, num_classes) for _ in range(heads))

    def forward(self, taps: Sequence[Tensor]) -> tuple[Tensor, Tensor, list[Tensor]]:
        """Decodes the taps of the encoder.

        Args:
            taps: Four planes (B, C_i, H/s, W/s) of strides s = 4, 8, 16, 32.

        Returns:
            The tensors dec (B, 64, H/8, W/8) and logits (B, K, H/8, W/8), and in training the auxiliary logits of each
            block.
        """
        # No block reads the tap at 1/4, the largest one, so its adapter is not run.
        read = {node for pair in _CONNECTIONS for node in pair}
        pool = [a(t) if i in read else t for i, (a, t) in enumerate(zip(self.adapters, taps, strict=True))]
        auxiliary: list[Tensor] = []
        for (i, j), sides in zip(_CONNECTIONS, self.blocks, strict=True):
            left, right = sides[0](pool[i]), sides[1](pool[j])  # type: ignore[index]
            left, right = enlarge_to_finest((left, right), (_STRIDES[i], _STRIDES[j]))
            pool.append(left + right)
            if self.training and len(self.auxiliary):
                auxiliary.append(self.auxiliary[len(auxiliary)](pool[-1]))
        unread = _unread_blocks()
        outputs = enlarge_to_finest([pool[node] for node in unread], [_STRIDES[node] for node in unread])
        dec = self.reduce(F.relu(torch.cat(outputs, 1)))
        return dec, self.classifier(dec), auxiliary
