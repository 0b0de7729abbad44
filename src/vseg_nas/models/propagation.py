"""Propagations: how the frames after a key frame are predicted, by a cell or by one of its baselines.

A propagation is called with the static network, the state of the previous frame and the current frame, and returns the
state of the current frame.

Legend: B clips, C channels, H, W pixels, h, w at 1/8, K classes.
"""

from typing import NamedTuple, Protocol, get_args

import torch
from torch import Tensor, nn

from vseg_nas.flow import dis_flow, shrink_flow, warp
from vseg_nas.models.cell import DynamicCell
from vseg_nas.models.layers import enlarge, stride_of
from vseg_nas.models.mobilenet_v2 import EncoderOutput
from vseg_nas.models.settings import Past
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.space.vocabulary import DEC_STRIDE, INPUT_STRIDES, INPUTS

PASTS: tuple[str, ...] = get_args(Past)


class FrameState(NamedTuple):
    """What one frame leaves for the next.

    Attributes:
        frame: (B, 3, H, W) the frame, normalised with ImageNet's statistics.
        layer4: (B, 320, H/32, W/32) layer 4; empty if the next frame does not read it.
        dec: (B, 64, h, w) dec.
        pred: (B, K, h, w) logits; (B, K, H, W) if they were warped.
    """

    frame: Tensor
    layer4: Tensor
    dec: Tensor
    pred: Tensor


class Propagation(Protocol):
    """Predicts a frame from the state of the previous one."""

    def __call__(self, static: StaticSegmenter, state: FrameState, frame: Tensor) -> FrameState:
        """Returns the state of ``frame`` (B, 3, H, W), given that of the previous frame."""
        ...


class EachFrame(nn.Module):
    """Baseline: the static network predicts every frame."""

    def forward(self, static: StaticSegmenter, state: FrameState, frame: Tensor) -> FrameState:
        """Runs the static network; nothing of the previous frame is read."""
        output = static(frame)
        return FrameState(frame, output.encoder.layer4, output.dec, output.pred)


class CopyPrevious(nn.Module):
    """Baseline: the prediction of the previous frame is copied, which is right where nothing moves."""

    def forward(self, static: StaticSegmenter, state: FrameState, frame: Tensor) -> FrameState:
        """Copies the state."""
        return state._replace(frame=frame)


class WarpPrevious(nn.Module):
    """Baseline: the logits of the previous frame are enlarged to full size and warped along optical flow (DIS).

    At 1/8, flow of a few pixels would be a fraction of a value, and warping over and over would blur the logits.
    """

    def forward(self, static: StaticSegmenter, state: FrameState, frame: Tensor) -> FrameState:
        """Warps the logits; no network runs."""
        size = frame.shape[-2], frame.shape[-1]
        full = enlarge(state.pred, stride_of(state.pred, size), size)
        return state._replace(frame=frame, pred=warp(full, dis_flow(frame, state.frame)))


class AverageOverTime(nn.Module):
    """Baseline: an exponential moving average of the static network's logits over time.

    It gives more consistent labels at the cost of the static network.

    Args:
        flow: Whether to warp the average of the previous frames along optical flow (DIS) first.
    """

    weight = 0.5
    """The weight of the current frame."""

    def __init__(self, flow: bool = False) -> None:
        super().__init__()
        self.flow = flow

    def forward(self, static: StaticSegmenter, state: FrameState, frame: Tensor) -> FrameState:
        """Runs the static network and averages its logits."""
        output, past = static(frame), state.pred
        if self.flow:
            size = frame.shape[-2], frame.shape[-1]
            past = warp(past, shrink_flow(dis_flow(frame, state.frame), stride_of(past, size)))
        return FrameState(frame, output.encoder.layer4, output.dec, torch.lerp(past, output.pred, self.weight))


class CellPropagation(nn.Module):
    """The method of the paper: the encoder and a dynamic cell with a classifier of its own (section 3).

    Args:
        cell: The dynamic cell.
        classifier: The convolution from dec to logits.
        past: The frame that the cell reads as the previous one, a `Past`; ``current`` runs the static decoder on every
            frame.
        flow: Whether to warp layer 4 and dec of the previous frame along optical flow (DIS) before the cell reads them,
            as NetWarp and GRFP do.
    """

    def __init__(self, cell: DynamicCell, classifier: nn.Conv2d, past: Past = "previous", flow: bool = False) -> None:
        super().__init__()
        self.cell = cell
        self.classifier = classifier
        self.past = past
        self.flow = flow

    def forward(self, static: StaticSegmenter, state: FrameState, frame: Tensor) -> FrameState:
        """Runs the encoder, up to the last stage that anything reads, and the cell."""
        taps = static.encode(frame, self._stages)
        layer4, dec = self._past_of(static, taps, state, frame)
        dec = self.cell(layer4, dec, taps.layer2, taps.layer3, taps.layer4)
        return FrameState(frame, taps.layer4, dec, self.classifier(dec))

    @property
    def _read(self) -> set[str]:
        return {INPUTS[source] for source in self.cell.genotype.reads}

    @property
    def _stages(self) -> int:
        """The number of encoder stages to run.

        They are those that the cell reads in this frame or in the next one, or that the static decoder reads. There are
        at least two, because dec gets the size of layer 2.
        """
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
                # Flow is computed at full size, where displacements are largest, and shrunk to each plane.
                flow = dis_flow(frame, state.frame)
                layer4 = state.layer4
                if "prev_layer4" in self._read:
                    layer4 = warp(layer4, shrink_flow(flow, INPUT_STRIDES[INPUTS.index("prev_layer4")]))
                return layer4, warp(state.dec, shrink_flow(flow, DEC_STRIDE))
