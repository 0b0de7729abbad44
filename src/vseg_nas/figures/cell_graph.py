"""Arranges a cell as a layered graph: the column of each layer, and the order within each column.

Column 0 holds the inputs, a layer is one column to the right of the later of its two sources (longest path), and the
output is last. A wire that crosses a column gets a slot of its own there, a *pass*, so that no wire runs behind a box.
Wires from one source share their passes. The order within a column is chosen for few crossings, by sweeps that sort
each column by the positions of its neighbours (Sugiyama's method).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Literal, NamedTuple

from vseg_nas.space import Genotype

SWEEPS = 12


class Node(NamedTuple):
    """One slot of a column; `pool_id` is the input or layer that is in it or passes through, -1 for the output."""

    kind: Literal["input", "layer", "pass", "output"]
    pool_id: int
    column: int


class Segment(NamedTuple):
    """A wire between neighbouring columns; at a layer, it enters the upper (`side` 0) or the lower port (1)."""

    tail: Node
    head: Node
    side: int


@dataclass(frozen=True)
class CellGraph:
    """The columns from left to right, each from top to bottom, and the wires between them."""

    columns: tuple[tuple[Node, ...], ...]
    segments: tuple[Segment, ...]


def cell_graph(genotype: Genotype) -> CellGraph:
    """Returns the layered graph of a cell, ordered for few crossings; it depends on the genotype alone."""
    nodes, inputs = _place(genotype), len(genotype.vocabulary.inputs)
    output = Node("output", -1, 1 + max(node.column for node in nodes.values()))
    targets: dict[int, list[tuple[Node, int]]] = defaultdict(list)
    for i, layer in enumerate(genotype.layers):
        targets[layer.input1].append((nodes[inputs + i], 0))
        targets[layer.input2].append((nodes[inputs + i], 1))
    for i in genotype.outputs:
        targets[inputs + i].append((output, 0))

    segments = [s for source in sorted(targets) for s in _route(nodes[source], targets[source])]
    columns: list[list[Node]] = [[] for _ in range(output.column + 1)]
    for node in dict.fromkeys([*nodes.values(), *(s.head for s in segments)]):
        columns[node.column].append(node)
    return CellGraph(tuple(map(tuple, _ordered(columns, segments))), tuple(segments))


def _place(genotype: Genotype) -> dict[int, Node]:
    inputs = len(genotype.vocabulary.inputs)
    nodes = {i: Node("input", i, 0) for i in range(inputs)}
    for i, layer in enumerate(genotype.layers):
        column = 1 + max(nodes[layer.input1].column, nodes[layer.input2].column)
        nodes[inputs + i] = Node("layer", inputs + i, column)
    return nodes


def _route(source: Node, targets: Sequence[tuple[Node, int]]) -> list[Segment]:
    """Returns the segments from one source to all its targets along one shared chain of passes."""
    reach = max(target.column for target, _ in targets)
    chain = [source, *(Node("pass", source.pool_id, c) for c in range(source.column + 1, reach))]
    along = [Segment(tail, head, 0) for tail, head in pairwise(chain)]
    return along + [Segment(chain[t.column - source.column - 1], t, side) for t, side in targets]


def _ordered(columns: list[list[Node]], segments: Sequence[Segment]) -> list[list[Node]]:
    """Returns the best order found. The inputs keep theirs, so that drawings of several cells can be compared."""
    best, fewest = [list(column) for column in columns], crossings(columns, segments)
    for sweep in range(SWEEPS):
        forward = sweep % 2 == 0
        for column in columns[1:] if forward else columns[-2:0:-1]:
            _sort_by_barycentre(column, columns, segments, forward)
        if (count := crossings(columns, segments)) < fewest:
            best, fewest = [list(column) for column in columns], count
    return best


def _positions(columns: Sequence[Sequence[Node]]) -> dict[Node, int]:
    return {node: row for column in columns for row, node in enumerate(column)}


def _sort_by_barycentre(
    column: list[Node], columns: Sequence[Sequence[Node]], segments: Sequence[Segment], forward: bool
) -> None:
    row = _positions(columns)
    pulls: dict[Node, list[float]] = defaultdict(list)
    for tail, head, side in segments:
        if forward:
            pulls[head].append(row[tail] - side / 4)  # a wire that enters at the lower port pulls its box up
        else:
            pulls[tail].append(row[head] + side / 4)
    column.sort(key=lambda node: sum(pulls[node]) / len(pulls[node]) if pulls[node] else row[node])


def crossings(columns: Sequence[Sequence[Node]], segments: Sequence[Segment]) -> int:
    """Returns how many pairs of segments cross if the columns are in this order."""
    row = _positions(columns)
    gutters: dict[int, list[tuple[int, tuple[int, int]]]] = defaultdict(list)
    for tail, head, side in segments:
        gutters[tail.column].append((row[tail], (row[head], side)))
    pairs = (pair for gutter in gutters.values() for pair in combinations(gutter, 2))
    return sum((a < c and b > d) or (a > c and b < d) for (a, b), (c, d) in pairs)
