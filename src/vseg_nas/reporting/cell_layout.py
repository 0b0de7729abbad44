"""Where every box and wire of a cell drawing lies. Pure geometry, in inches, x to the right, y downwards."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, NamedTuple

from vseg_nas.reporting.cell_graph import CellGraph, Node, Segment, cell_graph
from vseg_nas.reporting.cell_rows import HEIGHTS, PORT, cell_rows, port
from vseg_nas.reporting.palette import box_label
from vseg_nas.space import Genotype, Layer
from vseg_nas.space.vocabulary import AGGREGATIONS, INPUTS, OPERATIONS

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
    """A labelled rectangle; (x, y) is its centre."""

    kind: Literal["input", "operation", "aggregation", "output"]
    text: str
    x: float
    y: float
    width: float
    height: float
    pool_id: int = -1  # of an input


class Wire(NamedTuple):
    """An S-curve from (x0, y0) to (x1, y1); `pool_id`: the input or layer it carries, -1 inside a layer."""

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
    """Everything to draw, inside (0, 0) to (width, height)."""

    boxes: tuple[Box, ...]
    wires: tuple[Wire, ...]
    captions: tuple[Caption, ...]
    width: float
    height: float


def cell_layout(genotype: Genotype) -> CellLayout:
    """Lays out a cell: inputs left, each layer right of what it reads, `concat` and `dec` on the right."""
    graph = cell_graph(genotype)
    ys = cell_rows(graph)
    lefts = _lefts(graph, ys)
    boxes: list[Box] = []
    wires = [_wire(segment, graph, lefts, ys) for segment in graph.segments]
    captions: list[Caption] = []
    for node, y in ys.items():
        x = lefts[node.column]
        if node.kind == "layer":
            index = node.pool_id - len(INPUTS)
            name = chr(ord("a") + index)  # as in the genotype's expression
            captions.append(Caption(name, x, y - HEIGHTS["layer"] / 2 - 0.05))
            boxes += _layer_boxes(genotype.layers[index], x, y)
        elif node.kind == "input":
            text = box_label(INPUTS[node.pool_id])
            boxes.append(Box("input", text, x + INPUT_SIZE[0] / 2, y, *INPUT_SIZE, node.pool_id))
        elif node.kind == "output":
            half, step = OUTPUT_SIZE[0] / 2, OUTPUT_SIZE[0] + INNER_GAP
            boxes.append(Box("output", "concat", x + half, y, *OUTPUT_SIZE))
            boxes.append(Box("output", "dec", x + half + step, y, *OUTPUT_SIZE))
        wires += _inner_wires(node, x, y)
    bottom = max(*(box.y + box.height / 2 for box in boxes), *(wire.y1 for wire in wires))
    return CellLayout(tuple(boxes), tuple(wires), tuple(captions), lefts[-1] + WIDTHS["output"], bottom)


def _lefts(graph: CellGraph, ys: dict[Node, float]) -> list[float]:
    least, most = GUTTER
    lefts = [0.0]
    for i, column in enumerate(graph.columns[:-1]):
        climbs = [abs(ys[s.head] + _entry(s, graph, ys) - ys[s.tail]) for s in graph.segments if s.tail.column == i]
        lefts.append(lefts[-1] + WIDTHS[column[0].kind] + min(most, least + STEEPNESS * max(climbs)))
    return lefts


def _layer_boxes(layer: Layer, x: float, y: float) -> list[Box]:
    aggregation_x = x + WIDTHS["layer"] - AGGREGATION_SIZE[0] / 2
    operations = [
        Box("operation", box_label(OPERATIONS[op]), x + OPERATION_SIZE[0] / 2, y + port(side), *OPERATION_SIZE)
        for side, op in enumerate((layer.op1, layer.op2))
    ]
    return [
        *operations,
        Box("aggregation", box_label(AGGREGATIONS[layer.aggregation]), aggregation_x, y, *AGGREGATION_SIZE),
    ]


def _inner_wires(node: Node, x: float, y: float) -> list[Wire]:
    """The wires within a column: from operations to aggregation, along a pass, from concat to dec."""
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
    """Where the wire enters its head, below the centre; the output takes its wires in the order they come."""
    if segment.head.kind == "layer":
        return port(segment.side)
    if segment.head.kind == "pass":
        return 0.0
    tails = sorted((s.tail for s in graph.segments if s.head == segment.head), key=ys.__getitem__)
    return OUTPUT_SIZE[1] * ((tails.index(segment.tail) + 0.5) / len(tails) - 0.5)
