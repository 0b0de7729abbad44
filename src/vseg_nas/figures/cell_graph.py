"""A cell as a layered graph: which column each layer stands in, and in which order a column is read.

Column 0 holds the inputs, a layer stands one column right of the later of its two sources (longest path),
the output stands last. A wire that has to cross a column gets a *pass* there, a slot of its own, so no wire
runs behind a box. Wires from one source share their passes. Within a column the order is chosen for few
crossings, by sweeps that sort each column by where its neighbours lie (Sugiyama's method).
"""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import combinations, pairwise
from typing import Literal, NamedTuple

from vseg_nas.space import Genotype
from vseg_nas.space.vocabulary import INPUTS

SWEEPS = 12


class Node(NamedTuple):
    """One slot of a column; `pool_id` says which input or layer it is or lets pass, -1 for the output."""

    kind: Literal["input", "layer", "pass", "output"]
    pool_id: int
    column: int


class Segment(NamedTuple):
    """A wire between neighbouring columns; `side` is 0 (upper) or 1 (lower) where it enters a layer."""

    tail: Node
    head: Node
    side: int


@dataclass(frozen=True)
class CellGraph:
    """Columns from left to right, each from top to bottom, and the wires between them."""

    columns: tuple[tuple[Node, ...], ...]
    segments: tuple[Segment, ...]


def cell_graph(genotype: Genotype) -> CellGraph:
    """The layered graph of a cell, ordered for few crossings; a function of the genotype alone."""
    nodes = _place(genotype)
    output = Node("output", -1, 1 + max(node.column for node in nodes.values()))
    targets: dict[int, list[tuple[Node, int]]] = defaultdict(list)
    for i, layer in enumerate(genotype.layers):
        targets[layer.input1].append((nodes[len(INPUTS) + i], 0))
        targets[layer.input2].append((nodes[len(INPUTS) + i], 1))
    for i in genotype.outputs:
        targets[len(INPUTS) + i].append((output, 0))

    segments = [s for source in sorted(targets) for s in _route(nodes[source], targets[source])]
    columns: list[list[Node]] = [[] for _ in range(output.column + 1)]
    for node in dict.fromkeys([*nodes.values(), *(s.head for s in segments)]):
        columns[node.column].append(node)
    return CellGraph(tuple(map(tuple, _ordered(columns, segments))), tuple(segments))


def _place(genotype: Genotype) -> dict[int, Node]:
    nodes = {i: Node("input", i, 0) for i in range(len(INPUTS))}
    for i, layer in enumerate(genotype.layers):
        column = 1 + max(nodes[layer.input1].column, nodes[layer.input2].column)
        nodes[len(INPUTS) + i] = Node("layer", len(INPUTS) + i, column)
    return nodes


def _route(source: Node, targets: Sequence[tuple[Node, int]]) -> list[Segment]:
    """Segments from one source to all its targets along one shared chain of passes."""
    reach = max(target.column for target, _ in targets)
    chain = [source, *(Node("pass", source.pool_id, c) for c in range(source.column + 1, reach))]
    along = [Segment(tail, head, 0) for tail, head in pairwise(chain)]
    return along + [Segment(chain[t.column - source.column - 1], t, side) for t, side in targets]


def _ordered(columns: list[list[Node]], segments: Sequence[Segment]) -> list[list[Node]]:
    """The best order found; the inputs keep theirs, so that drawings of several cells can be compared."""
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
            pulls[head].append(row[tail] - side / 4)  # entering low pulls the box up
        else:
            pulls[tail].append(row[head] + side / 4)
    column.sort(key=lambda node: sum(pulls[node]) / len(pulls[node]) if pulls[node] else row[node])


def crossings(columns: Sequence[Sequence[Node]], segments: Sequence[Segment]) -> int:
    """How many pairs of segments cross, for columns in this order."""
    row = _positions(columns)
    gutters: dict[int, list[tuple[int, tuple[int, int]]]] = defaultdict(list)
    for tail, head, side in segments:
        gutters[tail.column].append((row[tail], (row[head], side)))
    pairs = (pair for gutter in gutters.values() for pair in combinations(gutter, 2))
    return sum((a < c and b > d) or (a > c and b < d) for (a, b), (c, d) in pairs)
