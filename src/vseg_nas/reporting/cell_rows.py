"""How high each node of a cell drawing lies. In inches, downwards.

Every node is drawn to the mean height of its neighbours, as far as the order of its column and the room that
the nodes need allow. One column at a time that is a least-squares problem with an exact answer; sweeping over
the columns settles the whole.
"""

from collections import defaultdict
from collections.abc import Sequence
from itertools import pairwise

from vseg_nas.reporting.cell_graph import CellGraph, Node

PORT = 0.29  # a layer's two operations lie this far above and below its centre
HEIGHTS = {"input": 0.46, "layer": 2 * PORT + 0.42, "pass": 0.06, "output": 0.46}
SPACING = 0.2
CAPTION = 0.2  # room for a layer's name above its box
SWEEPS = 150
LEVEL = 6.0  # how much more a long wire wants to run level than a short one


def cell_rows(graph: CellGraph) -> dict[Node, float]:
    """The height of the centre of every node; nothing, captions included, lies above 0."""
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
    """Where a wire enters a layer, below the layer's centre."""
    return PORT if side else -PORT


def _caption(node: Node) -> float:
    return CAPTION if node.kind == "layer" else 0.0


def _mean(weighted: Sequence[tuple[float, float]]) -> float:
    return sum(value * weight for value, weight in weighted) / sum(weight for _, weight in weighted)


def _packed(column: Sequence[Node]) -> list[float]:
    """Centres of a column packed as tightly as it may be, the first at 0."""
    ys = [0.0]
    for upper, lower in pairwise(column):
        ys.append(ys[-1] + (HEIGHTS[upper.kind] + HEIGHTS[lower.kind]) / 2 + SPACING + _caption(lower))
    return ys


def nearest_stack(wanted: Sequence[float], packed: Sequence[float]) -> list[float]:
    """The heights nearest to `wanted` (least squares) whose distances are those of `packed` or more.

    Less `packed`, the heights may be anything that never decreases: isotonic regression, solved by pooling
    adjacent violators.
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
