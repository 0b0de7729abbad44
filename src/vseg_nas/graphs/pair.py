"""The two graphs: what labels a key frame, and what labels the frame after one.

Legend: K classes, H, W pixels, h, w at 1/8.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.export import Dim

from vseg_nas.errors import DataError
from vseg_nas.models.layers import enlarge
from vseg_nas.models.propagation import CellPropagation, FrameState
from vseg_nas.models.video import VideoSegmenter
from vseg_nas.space.vocabulary import DEC_STRIDE

Output = Literal["logits", "labels"]
State = tuple[Tensor, Tensor, Tensor]

KEY_FRAME, NEXT_FRAME = "key_frame", "next_frame"
STATE_INPUTS = ("layer4", "dec")
STATE_OUTPUTS = ("next_layer4", "next_dec")


class KeyFrame(nn.Module):
    """``frame -> (output, next_layer4, next_dec)``."""

    def __init__(self, segmenter: VideoSegmenter, output: Output) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.output = output

    def forward(self, frame: Tensor) -> State:
        """Labels a frame (1, 3, H, W) by the static network."""
        return _outputs(self.segmenter.key(frame), self.output)


class NextFrame(nn.Module):
    """``(frame, layer4, dec) -> (output, next_layer4, next_dec)``."""

    def __init__(self, segmenter: VideoSegmenter, output: Output) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.output = output

    def forward(self, frame: Tensor, layer4: Tensor, dec: Tensor) -> State:
        """Labels a frame (1, 3, H, W) from layer4 (1, 320, H/32, W/32) and dec (1, 64, h, w) of the one before."""
        before = FrameState(frame, layer4, dec, dec)  # neither the frame nor the logits before are read without flow
        after = self.segmenter.follow(before, frame)
        if not after.layer4.numel():  # nothing reads it: it stays, or the shape of the state would change
            after = after._replace(layer4=layer4.clone())
        return _outputs(after, self.output)


def _outputs(state: FrameState, output: Output) -> State:
    if output == "logits":
        return state.pred, state.layer4, state.dec
    size = state.frame.shape[-2], state.frame.shape[-1]
    logits = enlarge(state.pred, DEC_STRIDE, size)  # in bands, sizes would not be free
    return logits.max(1).indices.to(torch.uint8), state.layer4, state.dec


@dataclass(frozen=True)
class Graph:
    """One of the two, ready to be exported.

    Attributes:
        name: ``key_frame`` or ``next_frame``.
        module: in evaluation mode, on the CPU.
        example: inputs of some size.
        inputs: their names.
        outputs: names of what it gives.
    """

    name: str
    module: nn.Module
    example: tuple[Tensor, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def dynamic_shapes(self) -> tuple[dict[int, Any], ...]:
        """Height and width of every input are free; how they hang together is found by the exporter."""
        return tuple({2: Dim.AUTO, 3: Dim.AUTO} for _ in self.inputs)


def graph_pair(segmenter: VideoSegmenter, size: tuple[int, int], output: Output) -> tuple[Graph, Graph]:
    """The two graphs of a network.

    Args:
        segmenter: on the CPU.
        size: height and width of the example frames.
        output: ``logits`` (1, K, h, w), or ``labels`` (1, H, W), uint8.

    Raises:
        DataError: the network cannot be expressed as graphs of tensors.
    """
    propagation = segmenter.propagation
    if isinstance(propagation, CellPropagation) and propagation.flow:
        raise DataError(
            "flow: found a cell that warps along optical flow (OpenCV's DISOpticalFlow), which is no operator of any "
            "graph format, expected one trained with flow=false"
        )
    frame = torch.randn(1, 3, *size, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        state = segmenter.eval().key(frame)
    outputs = (output, *STATE_OUTPUTS)
    key = Graph(KEY_FRAME, KeyFrame(segmenter, output).eval(), (frame,), ("frame",), outputs)
    inputs = ("frame", *STATE_INPUTS)
    example = (frame, state.layer4, state.dec)
    return key, Graph(NEXT_FRAME, NextFrame(segmenter, output).eval(), example, inputs, outputs)


class Difference(NamedTuple):
    """How far an exported graph is from torch.

    Attributes:
        size: height and width of the frames.
        largest: absolute difference of any value, in units of the largest value where that exceeds 1.
    """

    size: tuple[int, int]
    largest: float


Run = Callable[[str, tuple[Tensor, ...]], tuple[Tensor, ...]]
"""Runs an exported graph by its name."""

FRAMES = 3
TOLERANCE = 1e-4


def differences(pair: tuple[Graph, Graph], run: Run, sizes: tuple[tuple[int, int], ...]) -> list[Difference]:
    """Compares exported graphs with torch on a key frame and the frames after it, each graph with the state it left.

    Raises:
        DataError: they differ by more than `TOLERANCE`, or one of them cannot run.
    """
    found = []
    for size in sizes:
        frames = torch.randn(FRAMES, 1, 3, *size, generator=torch.Generator().manual_seed(1))
        largest = 0.0
        ours: tuple[Tensor, ...] = ()
        theirs: tuple[Tensor, ...] = ()
        for index, frame in enumerate(frames):
            graph = pair[min(index, 1)]
            with torch.no_grad():
                ours = graph.module(frame, *ours[1:])
            theirs = run(graph.name, (frame, *theirs[1:]))
            apart = max(map(_apart, ours, theirs))
            largest = max(largest, apart)
            if not apart <= TOLERANCE:
                height, width = size
                raise DataError(
                    f"{graph.name}: differs from torch by {apart:.2g} on frames of {height}x{width}, expected at most "
                    f"{TOLERANCE:g}; the graph is not kept"
                )
        found.append(Difference(size, largest))
    return found


def _apart(ours: Tensor, theirs: Tensor) -> float:
    """Values may differ; of labels, which are whole, the share of pixels does."""
    if not ours.is_floating_point():
        return 0.0 if (ours != theirs).double().mean() < _TIES else 1.0
    return float((ours - theirs).abs().max() / ours.abs().max().clamp(min=1))


_TIES = 1e-3  # pixels between two equally likely classes
