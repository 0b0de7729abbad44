"""Every operation, every aggregation and whole networks as ONNX, against torch, at two sizes."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any, cast

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from torch import Tensor, nn

from vseg_nas.errors import DataError
from vseg_nas.graphs.metadata import KEY, GraphMetadata
from vseg_nas.graphs.onnx_files import OPSET, OnnxPair, to_onnx, write_onnx
from vseg_nas.graphs.pair import Graph, Output, RunGraph, differences, graph_pair
from vseg_nas.graphs.pt2_files import Pt2Pair, write_pt2
from vseg_nas.models.aggregations import build_aggregation
from vseg_nas.models.operations import build_operation
from vseg_nas.models.segmenter_file import SegmenterSpec
from vseg_nas.models.settings import Past
from vseg_nas.models.video import VideoSegmenter
from vseg_nas.normalisation import IMAGENET_MEAN, IMAGENET_STD
from vseg_nas.space import Genotype, SearchSpace
from vseg_nas.space.hand_written import HAND_WRITTEN
from vseg_nas.space.vocabulary import AGGREGATIONS, OPERATIONS

CHANNELS = 6
METADATA = GraphMetadata("n", "e", ("a", "b"), ((0, 0, 0), (1, 1, 1)), (0.5,) * 3, (0.2,) * 3, None, "logits")
SIZES = ((64, 96), (71, 85))


def network(genotype: Genotype, past: Past = "previous", flow: bool = False, seed: int = 0) -> VideoSegmenter:
    """With random weights and statistics, so that nothing is zero or one by chance."""
    palette = ((1, 2, 3), (4, 5, 6), (7, 8, 9))
    spec = SegmenterSpec("n", 0, "r", ("a", "b", "c"), palette, genotype, past, flow, IMAGENET_MEAN, IMAGENET_STD)
    return cast(VideoSegmenter, shaken(spec.build(), seed))


def shaken(module: nn.Module, seed: int = 0) -> nn.Module:
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn(parameter.shape, generator=generator))
        for name, buffer in module.named_buffers():
            if name.endswith("running_mean"):
                buffer.copy_(0.1 * torch.randn(buffer.shape, generator=generator))
            elif name.endswith("running_var"):
                buffer.copy_(0.8 + 0.4 * torch.rand(buffer.shape, generator=generator))
    return module.eval()


def run_alone(module: nn.Module, inputs: int) -> None:
    """Exports a module of one or two maps of free size and compares at two others."""
    module = shaken(module)
    names = ("frame", "layer4")[:inputs]
    example = tuple(torch.randn(1, CHANNELS, 12, 16) for _ in names)
    graph = Graph("next_frame", module, example, names, ("logits",))
    session = onnxruntime.InferenceSession(to_onnx(graph, METADATA).SerializeToString())
    for height, width in ((12, 16), (9, 23)):
        maps = [torch.randn(1, CHANNELS, height, width) for _ in names]
        with torch.no_grad():
            ours = module(*maps).numpy()
        theirs = session.run(None, {name: x.numpy() for name, x in zip(names, maps, strict=True)})[0]
        np.testing.assert_allclose(theirs, ours, rtol=0, atol=1e-4)


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_alone(name: str) -> None:
    run_alone(build_operation(OPERATIONS.index(name), CHANNELS), 1)


@pytest.mark.parametrize("name", AGGREGATIONS)
def test_an_aggregation_alone(name: str) -> None:
    run_alone(build_aggregation(AGGREGATIONS.index(name), CHANNELS), 2)


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> tuple[tuple[Graph, Graph], Path]:
    """One pair of graphs of a hand-written cell that gives labels."""
    pair = graph_pair(network(HAND_WRITTEN["local_filters"]), SIZES[0], "labels")
    folder = tmp_path_factory.mktemp("graphs")
    for graph in pair:
        write_onnx(graph, METADATA, folder / f"{graph.name}.onnx")
    return pair, folder


def test_the_files_say_what_they_are(exported: tuple[Any, Path]) -> None:
    for name, inputs in (("key_frame", ["frame"]), ("next_frame", ["frame", "layer4", "dec"])):
        model = onnx.load(exported[1] / f"{name}.onnx")
        assert [i.name for i in model.graph.input] == inputs
        assert [o.name for o in model.graph.output] == ["labels", "next_layer4", "next_dec"]
        assert [d.dim_param for d in model.graph.input[0].type.tensor_type.shape.dim][2:] == ["height", "width"]
        assert {entry.domain: entry.version for entry in model.opset_import}[""] == OPSET
        entries = {entry.key: entry.value for entry in model.metadata_props}
        assert GraphMetadata.from_json(entries[KEY]) == METADATA


def test_labels_are_those_of_torch(exported: tuple[tuple[Graph, Graph], Path]) -> None:
    pair, folder = exported
    assert max(found.largest for found in differences(pair, OnnxPair(folder), SIZES)) <= 1e-4


def test_labels_are_those_of_torch_whatever_32_leaves_over(exported: tuple[tuple[Graph, Graph], Path]) -> None:
    pair, folder = exported
    sizes = tuple((side, 160 - side) for side in range(65, 97, 3))
    assert max(found.largest for found in differences(pair, OnnxPair(folder), sizes)) <= 1e-4


def test_a_graph_that_differs_is_refused(exported: tuple[tuple[Graph, Graph], Path]) -> None:
    pair, folder = exported
    right = OnnxPair(folder)

    def wrong(name: str, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        output, layer4, dec = right(name, inputs)
        return output, layer4, dec + 1e-2 * (name == "next_frame")

    with pytest.raises(DataError, match=r"next_frame: differs from torch by 0\.01 on frames of 64x96"):
        differences(pair, wrong, SIZES)


def test_flow_is_refused_by_the_name_of_its_operator() -> None:
    with pytest.raises(DataError, match="DISOpticalFlow"):
        graph_pair(network(HAND_WRITTEN["gated_warp"], flow=True), SIZES[0], "logits")


class _Unknown(nn.Module):
    def forward(self, frame: Tensor) -> Tensor:
        values: Tensor = torch.linalg.eigvals(frame).real
        return values


def test_an_operator_that_onnx_lacks_is_named() -> None:
    graph = Graph("key_frame", _Unknown(), (torch.randn(1, 3, 8, 8),), ("frame",), ("logits",))
    with pytest.raises(DataError, match=r"key_frame: cannot be expressed in ONNX .*linalg_eig"):
        to_onnx(graph, METADATA)


@pytest.mark.parametrize("past", [pytest.param("current", marks=pytest.mark.slow), "zero"])
def test_pt2_of_the_controls(past: Past, tmp_path: Path) -> None:
    check(network(HAND_WRITTEN["local_filters"], past), "logits", tmp_path, "pt2")


def check(segmenter: VideoSegmenter, output: Output, folder: Path, kind: str) -> None:
    pair = graph_pair(segmenter, SIZES[0], output)
    write = write_onnx if kind == "onnx" else write_pt2
    for graph in pair:
        write(graph, METADATA, folder / f"{graph.name}.{kind}")
    run: RunGraph = OnnxPair(folder) if kind == "onnx" else Pt2Pair(folder)
    assert max(found.largest for found in differences(pair, run, SIZES)) <= 1e-4


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("seed", range(20))
def test_a_random_cell(seed: int, tmp_path: Path) -> None:
    rng = random.Random(seed)
    space = SearchSpace(rng.choice((3, 4, 5)), rng.choice((32, 64)) if seed % 4 else "native")
    check(network(space.sample(rng), seed=seed), "logits", tmp_path, "onnx")
