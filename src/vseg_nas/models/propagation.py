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
from vseg_nas.models.mobilenet_v2 import TAP_CHANNELS, EncoderOutput
from vseg_nas.models.settings import Past
from vseg_nas.models.static import StaticOutput, StaticSegmenter
from vseg_nas.space.vocabulary import DEC_STRIDE, INPUT_STRIDES, INPUTS

PASTS: tuple[str, ...] = get_args(Past)


class FrameState(NamedTuple):
    """What one frame leaves for the next.

    Attributes:
        frame: (B, 3, H, W) the frame, normalised with ImageNet's statistics.
        layer4: (B, 320, H/32, W/32) layer 4; empty if the next frame does not read it.
        dec: (B, 64, h, w) dec.
        pred: (B, K, h, w) logits; (B, K, H, W) if they were warped.
        layer2: (B, 32, h, w) layer 2; None if the next frame does not read it.
        distance: (B, 1, 1, 1) number of frames since the key frame, 0 for that itself; None if the next frame does not
            read it.
    """

    frame: Tensor
    layer4: Tensor
    dec: Tensor
    pred: Tensor
    layer2: Tensor | None = None
    distance: Tensor | None = None


class PastInputs(NamedTuple):
    """What a cell reads of the past.

    Attributes:
        layer4: Layer 4 of the previous frame, as in `FrameState`.
        dec: Its dec.
        layer2: Its layer 2; None if the cell does not read it.
        distance: The number of frames from the last key frame to the current one; None if the cell does not read it.
    """

    layer4: Tensor
    dec: Tensor
    layer2: Tensor | None
    distance: Tensor | None


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
        past = self._past_of(static, taps, state, frame)
        dec = self.cell(past.layer4, past.dec, taps.layer2, taps.layer3, taps.layer4, past.layer2, past.distance)
        layer2 = taps.layer2 if "prev_layer2" in self.cell.reads else None
        return FrameState(frame, taps.layer4, dec, self.classifier(dec), layer2, past.distance)

    def key_state(self, frame: Tensor, output: StaticOutput) -> FrameState:
        """Returns what a key frame (B, 3, H, W) leaves for the cell, given what the static network says of it."""
        reads = self.cell.reads
        layer2 = output.encoder.layer2 if "prev_layer2" in reads else None
        distance = frame.new_zeros(frame.shape[0], 1, 1, 1) if "distance" in reads else None
        return FrameState(frame, output.encoder.layer4, output.dec, output.pred, layer2, distance)

    @property
    def _stages(self) -> int:
        """The number of encoder stages to run.

        They are those that the cell reads in this frame or in the next one, or that the static decoder reads. There are
        at least two, because dec gets the size of layer 2.
        """
        if self.past == "current":
            return len(TAP_CHANNELS)
        genotype = self.cell.genotype
        return max(2, *(genotype.vocabulary.input_stages[source] for source in genotype.reads))

    def _past_of(self, static: StaticSegmenter, taps: EncoderOutput, state: FrameState, frame: Tensor) -> PastInputs:
        match self.past:
            case "current":
                dec: Tensor = static.decoder(taps)[0]
                return PastInputs(taps.layer4, dec, taps.layer2, state.distance)  # which stays 0
            case "zero":
                layer2 = None if state.layer2 is None else torch.zeros_like(state.layer2)
                return PastInputs(torch.zeros_like(state.layer4), torch.zeros_like(state.dec), layer2, state.distance)
            case "previous":
                distance = None if state.distance is None else state.distance + 1
                past = PastInputs(state.layer4, state.dec, state.layer2, distance)
                return self._warped(past, dis_flow(frame, state.frame)) if self.flow else past

    def _warped(self, past: PastInputs, flow: Tensor) -> PastInputs:
        """Warps what the cell reads along flow.

        Flow is computed at full size, where displacements are largest, and shrunk to each plane.
        """
        at_8th, layer4, layer2 = shrink_flow(flow, DEC_STRIDE), past.layer4, past.layer2
        if "prev_layer4" in self.cell.reads:
            layer4 = warp(layer4, shrink_flow(flow, INPUT_STRIDES[INPUTS.index("prev_layer4")]))
        if layer2 is not None:
            layer2 = warp(layer2, at_8th)
        return past._replace(layer4=layer4, dec=warp(past.dec, at_8th), layer2=layer2)
