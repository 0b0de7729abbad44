"""The two graphs of an exported network: one labels key frames, the other labels all frames after them.

Graph formats have no state, so what one frame leaves for the next is an output of one graph and an input of the other.

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
from vseg_nas.models.video_segmenter import VideoSegmenter
from vseg_nas.space.vocabulary import DEC_STRIDE

Output = Literal["logits", "labels"]

KEY_FRAME, NEXT_FRAME = "key_frame", "next_frame"


class KeyFrame(nn.Module):
    """``frame -> (output, next_layer4, next_dec)``; further planes follow if the cell reads more of the past."""

    def __init__(self, segmenter: VideoSegmenter, output: Output) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.output = output

    def forward(self, frame: Tensor) -> tuple[Tensor, ...]:
        """Labels a frame (1, 3, H, W) with the static network."""
        return _outputs(self.segmenter.key(frame), self.output)


class NextFrame(nn.Module):
    """``(frame, layer4, dec) -> (output, next_layer4, next_dec)``; further planes follow if the cell reads more."""

    def __init__(self, segmenter: VideoSegmenter, output: Output) -> None:
        super().__init__()
        self.segmenter = segmenter
        self.output = output

    def forward(self, frame: Tensor, layer4: Tensor, dec: Tensor, *more: Tensor) -> tuple[Tensor, ...]:
        """Labels a frame (1, 3, H, W).

        Args:
            frame: The current frame.
            layer4: (1, 320, H/32, W/32) layer 4 of the previous frame.
            dec: (1, 64, h, w) dec of the previous frame.
            *more: What else of `FrameState` the cell reads, in the order of `state_names`.
        """
        before = FrameState(frame, layer4, dec, dec)  # stand-ins: without flow, previous frame and logits are not read
        before = before._replace(**dict(zip(state_names(self.segmenter)[2:], more, strict=True)))
        after = self.segmenter.follow(before, frame)
        if not after.layer4.numel():  # the cell does not read it; passing it on keeps the shape of the state
            after = after._replace(layer4=layer4.clone())
        return _outputs(after, self.output)


def state_names(segmenter: VideoSegmenter) -> tuple[str, ...]:
    """Returns the names of what one frame leaves for the next in graphs: always ``layer4`` and ``dec``."""
    propagation = segmenter.propagation
    reads = propagation.cell.reads if isinstance(propagation, CellPropagation) else frozenset()
    more = {"layer2": "prev_layer2" in reads, "distance": "distance" in reads}
    return "layer4", "dec", *(name for name, is_read in more.items() if is_read)


def _outputs(state: FrameState, output: Output) -> tuple[Tensor, ...]:
    left = [state.layer4, state.dec, *(plane for plane in (state.layer2, state.distance) if plane is not None)]
    if output == "logits":
        return state.pred, *left
    size = state.frame.shape[-2], state.frame.shape[-1]
    logits = enlarge(state.pred, DEC_STRIDE, size)  # not `label_map`, whose loop over bands would fix the sizes
    return logits.max(1).indices.to(torch.uint8), *left


@dataclass(frozen=True)
class Graph:
    """One of the two graphs, ready to be exported.

    Attributes:
        name: ``key_frame`` or ``next_frame``.
        module: The module to export, in evaluation mode and on the CPU.
        example: Example inputs, from which the exporter traces the module.
        inputs: The names of the inputs.
        outputs: The names of the outputs.
    """

    name: str
    module: nn.Module
    example: tuple[Tensor, ...]
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]

    @property
    def dynamic_shapes(self) -> tuple[Any, ...]:
        """The free dimensions: height and width of every plane. The exporter finds how they depend on each other."""
        shapes = tuple(None if name == "distance" else {2: Dim.AUTO, 3: Dim.AUTO} for name in self.inputs)
        named = len(("frame", "layer4", "dec"))  # what else `NextFrame` takes is in one tuple
        return (*shapes[:named], shapes[named:]) if len(shapes) > named else shapes


def graph_pair(segmenter: VideoSegmenter, size: tuple[int, int], output: Output) -> tuple[Graph, Graph]:
    """Returns the graph of key frames and the graph of all other frames of a network.

    Args:
        segmenter: The network, on the CPU.
        size: Height and width of the example frames in pixels.
        output: The tensor that the graphs return: ``logits`` (1, K, h, w), or ``labels`` (1, H, W) of uint8.

    Raises:
        DataError: The network cannot be expressed as graphs of tensors.
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
    names = state_names(segmenter)
    outputs = (output, *(f"next_{name}" for name in names))
    key = Graph(KEY_FRAME, KeyFrame(segmenter, output).eval(), (frame,), ("frame",), outputs)
    inputs = ("frame", *names)
    example = (frame, *(getattr(state, name) for name in names))
    return key, Graph(NEXT_FRAME, NextFrame(segmenter, output).eval(), example, inputs, outputs)


class Difference(NamedTuple):
    """How much the results of exported graphs differ from torch's.

    Attributes:
        size: Height and width of the frames in pixels.
        largest: The largest absolute difference of a value; it is divided by the largest value if that exceeds 1.
    """

    size: tuple[int, int]
    largest: float


RunGraph = Callable[[str, tuple[Tensor, ...]], tuple[Tensor, ...]]
"""Runs an exported graph, given by its name, on inputs, and returns its outputs."""

FRAMES = 3
TOLERANCE = 1e-4


def differences(pair: tuple[Graph, Graph], run: RunGraph, sizes: tuple[tuple[int, int], ...]) -> list[Difference]:
    """Compares exported graphs with torch on a key frame and the frames after it.

    Torch and the exported graphs each read the state that they have left themselves, so errors may accumulate.

    Args:
        pair: The two graphs.
        run: Runs an exported graph.
        sizes: Heights and widths of the frames to compare on, in pixels.

    Raises:
        DataError: They differ by more than `TOLERANCE`, or a graph cannot be run.
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
            difference = max(map(_difference, ours, theirs))
            largest = max(largest, difference)
            if not difference <= TOLERANCE:  # written so that NaN is refused too
                height, width = size
                raise DataError(
                    f"{graph.name}: differs from torch by {difference:.2g} on frames of {height}x{width}, "
                    f"expected at most {TOLERANCE:g}; the graph is not kept"
                )
        found.append(Difference(size, largest))
    return found


def _difference(ours: Tensor, theirs: Tensor) -> float:
    """Returns the largest relative difference of values; for labels 1, or 0 if they differ in very few pixels."""
    if not ours.is_floating_point():
        return 0.0 if (ours != theirs).double().mean() < _TIES else 1.0
    return float((ours - theirs).abs().max() / ours.abs().max().clamp(min=1))


_TIES = 1e-3  # share of pixels in which two classes may be equally likely, so that rounding decides
