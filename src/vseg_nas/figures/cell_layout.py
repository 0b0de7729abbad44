"""Computes the positions of all boxes and wires of a cell drawing, in inches, x to the right, y downwards.

Every node is pulled to the mean height of its neighbours, as far as the order of its column and the room that the nodes
need allow. For one column this is a least-squares problem with an exact solution; sweeps over the columns converge for
all of them.
"""

import textwrap
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal, NamedTuple

from vseg_nas.figures.cell_graph import CellGraph, Node, Segment, cell_graph
from vseg_nas.results.names import label
from vseg_nas.space import Genotype, Layer
from vseg_nas.space.vocabulary import Vocabulary

PORT = 0.29  # a layer's two operations lie this far above and below its centre
HEIGHTS = {"input": 0.46, "layer": 2 * PORT + 0.42, "pass": 0.06, "output": 0.46}
SPACING = 0.2
CAPTION = 0.2  # room for a layer's name above its box
SWEEPS = 150
LEVEL = 6.0  # weight of a long wire's pull to be level, in relation to a short one's
INPUT_SIZE = (0.95, HEIGHTS["input"])
OPERATION_SIZE = (1.04, HEIGHTS["layer"] - 2 * PORT)
AGGREGATION_SIZE = (0.86, 0.56)
OUTPUT_SIZE = (0.66, HEIGHTS["output"])
ENTRY = 0.13  # the two arrows enter an aggregation this far above and below its centre
INNER_GAP = 0.3  # between a layer's operations and its aggregation
GUTTER = (0.46, 1.1)  # between columns, where wires bend: for level wires, and at most
STEEPNESS = 0.15  # inches of gutter for each inch that its steepest wire climbs
WIDTHS = {
    "input": INPUT_SIZE[0],
    "layer": OPERATION_SIZE[0] + INNER_GAP + AGGREGATION_SIZE[0],
    "pass": OPERATION_SIZE[0] + INNER_GAP + AGGREGATION_SIZE[0],
    "output": 2 * OUTPUT_SIZE[0] + INNER_GAP,
}


class Box(NamedTuple):
    """A rectangle with a text; (x, y) is its centre, `pool_id` is set for inputs only."""

    kind: Literal["input", "operation", "aggregation", "output"]
    text: str
    x: float
    y: float
    width: float
    height: float
    pool_id: int = -1  # of an input


class Wire(NamedTuple):
    """An S-curve from (x0, y0) to (x1, y1); `pool_id` is the input or layer it starts from, -1 inside a layer."""

    pool_id: int
    x0: float
    y0: float
    x1: float
    y1: float
    arrow: bool


class Caption(NamedTuple):
    """The name of a layer; (x, y) is the left end of its base line."""

    text: str
    x: float
    y: float


@dataclass(frozen=True)
class CellLayout:
    """Everything to draw; all of it lies between (0, 0) and (width, height). `inputs` are the names by `pool_id`."""

    boxes: tuple[Box, ...]
    wires: tuple[Wire, ...]
    captions: tuple[Caption, ...]
    width: float
    height: float
    inputs: tuple[str, ...]


def cell_layout(genotype: Genotype) -> CellLayout:
    """Lays out a cell: inputs left, each layer right of what it reads, `concat` and `dec` on the right."""
    graph, vocabulary = cell_graph(genotype), genotype.vocabulary
    ys = cell_rows(graph)
    lefts = _lefts(graph, ys)
    boxes: list[Box] = []
    wires = [_wire(segment, graph, lefts, ys) for segment in graph.segments]
    captions: list[Caption] = []
    for node, y in ys.items():
        x = lefts[node.column]
        if node.kind == "layer":
            index = node.pool_id - len(vocabulary.inputs)
            name = chr(ord("a") + index)  # the name in the genotype's expression
            captions.append(Caption(name, x, y - HEIGHTS["layer"] / 2 - 0.05))
            boxes += _layer_boxes(genotype.layers[index], vocabulary, x, y)
        elif node.kind == "input":
            text = box_label(vocabulary.inputs[node.pool_id])
            boxes.append(Box("input", text, x + INPUT_SIZE[0] / 2, y, *INPUT_SIZE, node.pool_id))
        elif node.kind == "output":
            half, step = OUTPUT_SIZE[0] / 2, OUTPUT_SIZE[0] + INNER_GAP
            boxes.append(Box("output", "concat", x + half, y, *OUTPUT_SIZE))
            boxes.append(Box("output", "dec", x + half + step, y, *OUTPUT_SIZE))
        wires += _inner_wires(node, x, y)
    bottom = max(*(box.y + box.height / 2 for box in boxes), *(wire.y1 for wire in wires))
    width = lefts[-1] + WIDTHS["output"]
    return CellLayout(tuple(boxes), tuple(wires), tuple(captions), width, bottom, vocabulary.inputs)


def _lefts(graph: CellGraph, ys: dict[Node, float]) -> list[float]:
    least, most = GUTTER
    lefts = [0.0]
    for i, column in enumerate(graph.columns[:-1]):
        climbs = [abs(ys[s.head] + _entry(s, graph, ys) - ys[s.tail]) for s in graph.segments if s.tail.column == i]
        lefts.append(lefts[-1] + WIDTHS[column[0].kind] + min(most, least + STEEPNESS * max(climbs)))
    return lefts


def _layer_boxes(layer: Layer, vocabulary: Vocabulary, x: float, y: float) -> list[Box]:
    aggregation_x = x + WIDTHS["layer"] - AGGREGATION_SIZE[0] / 2
    operations = [
        Box("operation", box_label(name), x + OPERATION_SIZE[0] / 2, y + port(side), *OPERATION_SIZE)
        for side, name in enumerate(vocabulary.operations[op] for op in (layer.op1, layer.op2))
    ]
    return [
        *operations,
        Box("aggregation", box_label(vocabulary.aggregations[layer.aggregation]), aggregation_x, y, *AGGREGATION_SIZE),
    ]


def _inner_wires(node: Node, x: float, y: float) -> list[Wire]:
    """Returns the wires within a column: from operations to aggregation, along a pass, from concat to dec."""
    if node.kind == "layer":
        start, end = x + OPERATION_SIZE[0], x + OPERATION_SIZE[0] + INNER_GAP
        return [Wire(-1, start, y + sign * PORT, end, y + sign * ENTRY, arrow=True) for sign in (-1, 1)]
    if node.kind == "pass":
        return [Wire(node.pool_id, x, y, x + WIDTHS["pass"], y, arrow=False)]
    if node.kind == "output":
        return [Wire(-1, x + OUTPUT_SIZE[0], y, x + OUTPUT_SIZE[0] + INNER_GAP, y, arrow=True)]
    return []


def _wire(segment: Segment, graph: CellGraph, lefts: Sequence[float], ys: dict[Node, float]) -> Wire:
    tail, head, _ = segment
    x0 = lefts[tail.column] + WIDTHS[tail.kind]
    y1 = ys[head] + _entry(segment, graph, ys)
    return Wire(tail.pool_id, x0, ys[tail], lefts[head.column], y1, arrow=head.kind != "pass")


def _entry(segment: Segment, graph: CellGraph, ys: dict[Node, float]) -> float:
    """Returns how far below the centre a wire enters its head; wires to the output keep their vertical order."""
    if segment.head.kind == "layer":
        return port(segment.side)
    if segment.head.kind == "pass":
        return 0.0
    tails = sorted((s.tail for s in graph.segments if s.head == segment.head), key=ys.__getitem__)
    return OUTPUT_SIZE[1] * ((tails.index(segment.tail) + 0.5) / len(tails) - 0.5)


def cell_rows(graph: CellGraph) -> dict[Node, float]:
    """Returns the vertical position of the centre of every node; nothing, captions included, lies above 0."""
    pulls: dict[Node, list[tuple[Node, float, float]]] = defaultdict(list)
    for tail, head, side in graph.segments:
        offset = port(side) if head.kind == "layer" else 0.0
        weight = LEVEL if tail.kind == head.kind == "pass" else 1.0
        pulls[head].append((tail, -offset, weight))
        pulls[tail].append((head, offset, weight))

    ys: dict[Node, float] = {}
    for column in graph.columns:
        least = _packed(column)
        ys |= {node: y - least[-1] / 2 for node, y in zip(column, least, strict=True)}
    for _ in range(SWEEPS):
        for column in graph.columns[1:]:
            wanted = [_mean([(ys[other] + offset, w) for other, offset, w in pulls[node]]) for node in column]
            ys |= zip(column, nearest_stack(wanted, _packed(column)), strict=True)
    top = min(y - HEIGHTS[node.kind] / 2 - _caption(node) for node, y in ys.items())
    return {node: y - top for node, y in ys.items()}


def port(side: int) -> float:
    """Returns how far below the centre of a layer a wire enters it."""
    return PORT if side else -PORT


def _caption(node: Node) -> float:
    return CAPTION if node.kind == "layer" else 0.0


def _mean(weighted: Sequence[tuple[float, float]]) -> float:
    return sum(value * weight for value, weight in weighted) / sum(weight for _, weight in weighted)


def _packed(column: Sequence[Node]) -> list[float]:
    """Returns the centres of a column that is packed as tightly as possible, the first at 0."""
    ys = [0.0]
    for upper, lower in pairwise(column):
        ys.append(ys[-1] + (HEIGHTS[upper.kind] + HEIGHTS[lower.kind]) / 2 + SPACING + _caption(lower))
    return ys


def nearest_stack(wanted: Sequence[float], packed: Sequence[float]) -> list[float]:
    """Returns the positions nearest to `wanted` (least squares) whose distances are at least those of `packed`.

    After subtracting `packed`, the positions only have to be non-decreasing. That is isotonic regression,
    solved by pooling adjacent violators.
    """
    pools: list[tuple[float, int]] = []
    for slack in (w - y for w, y in zip(wanted, packed, strict=True)):
        total, count = slack, 1
        while pools and pools[-1][0] / pools[-1][1] >= total / count:
            before, members = pools.pop()
            total, count = total + before, count + members
        pools.append((total, count))
    shifts = [total / count for total, count in pools for _ in range(count)]
    return [y + shift for y, shift in zip(packed, shifts, strict=True)]


def box_label(name: str, width: int = 13) -> str:
    """Returns `label` of a name, broken into lines of at most `width` characters."""
    return "\n".join(textwrap.wrap(label(name), width))
