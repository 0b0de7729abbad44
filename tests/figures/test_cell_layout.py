import itertools
import random

import numpy as np
import pytest

from vseg_nas.figures.cell_graph import CellGraph, cell_graph, crossings
from vseg_nas.figures.cell_layout import Box, CellLayout, Wire, box_label, cell_layout, nearest_stack
from vseg_nas.space import Genotype, Layer, SearchSpace
from vseg_nas.space.vocabulary import STREAMING

# A chain: every layer reads the one before and the same input, so the input's wire passes every column.
CHAIN = Genotype((Layer(0, 2, 0, 1, 0), Layer(5, 2, 1, 2, 1), Layer(6, 2, 3, 4, 2), Layer(7, 2, 5, 0, 3)))
CELLS = [SearchSpace(n).sample(random.Random(seed)) for n in (1, 3, 4, 5, 7, 10) for seed in range(6)]
STREAMING_CELLS = [SearchSpace(n, 64, STREAMING).sample(random.Random(seed)) for n in (1, 3, 5) for seed in range(3)]


def edges(box: Box) -> tuple[float, float, float, float]:
    return box.x - box.width / 2, box.x + box.width / 2, box.y - box.height / 2, box.y + box.height / 2


def bezier(wire: Wire, bend: float = 0.55) -> np.ndarray:
    t = np.linspace(0, 1, 41)[:, None]
    reach = bend * (wire.x1 - wire.x0)
    p = np.array([(wire.x0, wire.y0), (wire.x0 + reach, wire.y0), (wire.x1 - reach, wire.y1), (wire.x1, wire.y1)])
    curve = (1 - t) ** 3 * p[0] + 3 * (1 - t) ** 2 * t * p[1] + 3 * (1 - t) * t**2 * p[2] + t**3 * p[3]
    return np.asarray(curve)


def read_back(layout: CellLayout) -> tuple[Layer, ...]:
    """Reads the layers of a cell off its drawing, by boxes, captions and wire ends alone."""
    starts = {
        (round(box.x + box.width / 2, 6), round(box.y, 6)): box
        for box in layout.boxes
        if box.kind in ("input", "aggregation")
    }
    upstream = {(round(w.x1, 6), round(w.y1, 6)): (round(w.x0, 6), round(w.y0, 6)) for w in layout.wires}
    aggregations = [box for box in layout.boxes if box.kind == "aggregation"]

    def source(point: tuple[float, float]) -> Box:
        while point not in starts:
            point = upstream[point]
        return starts[point]

    def operations(aggregation: Box) -> list[Box]:
        feeding = [
            box
            for box in layout.boxes
            if box.kind == "operation" and 0 < aggregation.x - box.x < 1.5 and abs(aggregation.y - box.y) < 0.4
        ]
        return sorted(feeding, key=lambda box: box.y)

    names = {}
    for aggregation in aggregations:
        left, _, top, _ = edges(operations(aggregation)[0])
        caption = min(layout.captions, key=lambda c: abs(c.x - left) + abs(c.y - top))
        names[aggregation] = ord(caption.text) - ord("a")

    def pool_id(box: Box) -> int:
        return box.pool_id if box.kind == "input" else len(layout.inputs) + names[box]

    layers = []
    for aggregation in sorted(aggregations, key=names.__getitem__):
        upper, lower = operations(aggregation)
        inputs = [pool_id(source((round(edges(box)[0], 6), round(box.y, 6)))) for box in (upper, lower)]
        ops = [[box_label(name) for name in STREAMING.operations].index(box.text) for box in (upper, lower)]
        token = [box_label(name) for name in STREAMING.aggregations].index(aggregation.text)
        layers.append(Layer(inputs[0], inputs[1], ops[0], ops[1], token))
    return tuple(layers)


@pytest.mark.parametrize("genotype", [CHAIN, *CELLS, *STREAMING_CELLS])
def test_a_drawing_reads_back_as_its_genotype(genotype: Genotype) -> None:
    assert read_back(cell_layout(genotype)) == genotype.layers


@pytest.mark.parametrize("genotype", [CHAIN, *CELLS, *STREAMING_CELLS])
def test_boxes_do_not_overlap_and_lie_inside(genotype: Genotype) -> None:
    layout = cell_layout(genotype)
    for box in layout.boxes:
        left, right, top, bottom = edges(box)
        assert left >= -1e-9
        assert top >= -1e-9
        assert right <= layout.width + 1e-9
        assert bottom <= layout.height + 1e-9
    for a, b in itertools.combinations(map(edges, layout.boxes), 2):
        apart = a[1] < b[0] or b[1] < a[0] or a[3] < b[2] or b[3] < a[2]
        assert apart, (a, b)


@pytest.mark.parametrize("genotype", [CHAIN, *CELLS])
def test_no_wire_runs_behind_a_box_or_a_caption(genotype: Genotype) -> None:
    layout = cell_layout(genotype)
    areas = [edges(box) for box in layout.boxes]
    areas += [(c.x, c.x + 0.1, c.y - 0.1, c.y) for c in layout.captions]
    for wire in layout.wires:
        x, y = bezier(wire).T
        for left, right, top, bottom in areas:
            inside = (x > left + 1e-6) & (x < right - 1e-6) & (y > top + 1e-6) & (y < bottom - 1e-6)
            assert not inside.any(), (wire, left, top)


def test_a_layer_stands_right_of_its_sources_and_long_wires_pass_every_column_once() -> None:
    graph = cell_graph(CHAIN)
    kinds = [sorted(node.kind for node in column) for column in graph.columns]
    assert kinds == [["input"] * 5, *([["layer", "pass"]] * 3), ["layer"], ["output"]]
    assert all(segment.head.column == segment.tail.column + 1 for segment in graph.segments)


@pytest.mark.parametrize("seed", range(8))
def test_crossings_are_near_the_fewest_possible(seed: int) -> None:
    graph = cell_graph(SearchSpace(3).sample(random.Random(seed)))
    orders = itertools.product(*map(itertools.permutations, graph.columns[1:]))
    fewest = min(crossings([graph.columns[0], *order], graph.segments) for order in orders)
    assert fewest <= crossings(graph.columns, graph.segments) <= fewest + 1


def test_crossings_of_a_hand_drawn_graph() -> None:
    graph = cell_graph(Genotype((Layer(1, 0, 0, 0, 0),)))  # upper side from the lower input
    assert crossings(graph.columns, graph.segments) == 1
    straight = cell_graph(Genotype((Layer(0, 1, 0, 0, 0),)))
    assert crossings(straight.columns, straight.segments) == 0


def test_the_same_genotype_is_laid_out_the_same() -> None:
    first, second = cell_graph(CELLS[-1]), cell_graph(CELLS[-1])
    assert isinstance(first, CellGraph)
    assert first == second


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        ([0.0, 5.0], [0.0, 5.0]),  # far enough apart already
        ([0.0, 0.0], [-0.5, 0.5]),
        ([2.0, 0.0], [0.5, 1.5]),  # order is kept, so they meet in the middle
        ([0.0, 0.0, 3.0], [-0.5, 0.5, 3.0]),
        ([1.0, 1.0, 1.0], [0.0, 1.0, 2.0]),
    ],
)
def test_nearest_stack_by_hand(wanted: list[float], expected: list[float]) -> None:
    packed = [float(i) for i in range(len(wanted))]  # one inch apart
    assert nearest_stack(wanted, packed) == pytest.approx(expected)
