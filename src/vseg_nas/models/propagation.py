"""How a frame after the key frame gets its labels: a cell, or what a cell has to beat.

A propagation is called with the static network, the state that the previous frame left and the current frame, and gives
the state of the current frame.

Legend: B clips, C channels, H, W pixels, h, w at 1/8, K classes.
"""

from typing import Literal, NamedTuple, Protocol, get_args

import torch
from torch import Tensor, nn

from vseg_nas.flow import dis_flow, shrink_flow, warp
from vseg_nas.models.cell import DynamicCell
from vseg_nas.models.layers import enlarge, stride_of
from vseg_nas.models.mobilenet_v2 import EncoderOutput
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.space.vocabulary import DEC_STRIDE, INPUT_STRIDES, INPUTS

Past = Literal["previous", "current", "zero"]
"""What a cell reads as the previous frame: that frame, the current one (static network and all), or zeros."""

PASTS: tuple[str, ...] = get_args(Past)


class FrameState(NamedTuple):
    """What one frame leaves to the next.

    Attributes:
        frame: (B, 3, H, W), ImageNet-normalised.
        layer4: (B, 320, H/32, W/32); empty where no frame after this one reads it.
        dec: (B, 64, h, w).
        pred: logits (B, K, h, w), or at full size where they were warped.
    """

    frame: Tensor
    layer4: Tensor
    dec: Tensor
    pred: Tensor


class Propagation(Protocol):
    """Carries the labels of a clip from one frame to the next."""

    def __call__(self, static: StaticSegmenter, state: FrameState, frame: Tensor) -> FrameState:
        """The state of ``frame`` (B, 3, H, W), from that of the frame before."""
        ...


class CopyPrevious(nn.Module):
    """The labels of the previous frame stay: what a cell has to beat where nothing moves."""

    def forward(self, static: StaticSegmenter, state: FrameState, frame: Tensor) -> FrameState:
        """Computes nothing."""
        return state._replace(frame=frame)


class WarpPrevious(nn.Module):
    """The logits of the previous frame, at full size, moved along optical flow (DIS)."""

    def forward(self, static: StaticSegmenter, state: FrameState, frame: Tensor) -> FrameState:
        """Runs no network."""
        size = frame.shape[-2], frame.shape[-1]
        full = enlarge(state.pred, stride_of(state.pred, size), size)
        return state._replace(frame=frame, pred=warp(full, dis_flow(frame, state.frame)))


class CellPropagation(nn.Module):
    """The encoder and a dynamic cell with a classifier of its own (section 3).

    Args:
        cell: the network.
        classifier: dec to logits.
        past: see `Past`. ``current`` and ``zero`` are controls that tell what time contributes; the former runs the
            static decoder on every frame.
        flow: warp layer 4 and dec of the previous frame along optical flow (DIS) before the cell reads them, as
            NetWarp and GRFP do.
    """

    def __init__(self, cell: DynamicCell, classifier: nn.Conv2d, past: Past = "previous", flow: bool = False) -> None:
        super().__init__()
        self.cell = cell
        self.classifier = classifier
        self.past = past
        self.flow = flow

    def forward(self, static: StaticSegmenter, state: FrameState, frame: Tensor) -> FrameState:
        """Runs the encoder, as far as anything reads it, and the cell."""
        taps = static.encode(frame, self._stages)
        layer4, dec = self._past_of(static, taps, state, frame)
        dec = self.cell(layer4, dec, taps.layer2, taps.layer3, taps.layer4)
        return FrameState(frame, taps.layer4, dec, self.classifier(dec))

    @property
    def _read(self) -> set[str]:
        return {INPUTS[source] for source in self.cell.genotype.reads}

    @property
    def _stages(self) -> int:
        """Of the encoder that the cell, the next frame's or the static decoder reads; layer 2 gives dec its plane."""
        if self.past == "current" or self._read & {"layer4", "prev_layer4"}:
            return 4
        return 3 if "layer3" in self._read else 2

    def _past_of(
        self, static: StaticSegmenter, taps: EncoderOutput, state: FrameState, frame: Tensor
    ) -> tuple[Tensor, Tensor]:
        match self.past:
            case "current":
                dec: Tensor = static.decoder(taps)[0]
                return taps.layer4, dec
            case "zero":
                return torch.zeros_like(state.layer4), torch.zeros_like(state.dec)
            case "previous":
                if not self.flow:
                    return state.layer4, state.dec
                flow = dis_flow(frame, state.frame)
                layer4 = state.layer4
                if "prev_layer4" in self._read:
                    layer4 = warp(layer4, shrink_flow(flow, INPUT_STRIDES[INPUTS.index("prev_layer4")]))
                return layer4, warp(state.dec, shrink_flow(flow, DEC_STRIDE))
