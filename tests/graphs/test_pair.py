"""Operations, aggregations and a whole network as ONNX, against torch; and what the command `export` makes."""

from __future__ import annotations

import io
import subprocess
import sys
from contextlib import redirect_stdout
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from hydra.core.global_hydra import GlobalHydra
from PIL import Image as PillowImage
from torch import Tensor, nn

import vseg_nas.export
import vseg_nas.predict
from tests.builders import ALL_STREAMING, make_shallow, video_spec
from tests.fixtures import InProcess
from tests.graphs.exporting import METADATA, SIZES, check, network, shaken
from tests.video.making import write_video
from vseg_nas.assembly.graph_export import metadata_of
from vseg_nas.errors import DataError
from vseg_nas.graphs.metadata import KEY, GraphMetadata
from vseg_nas.graphs.onnx_files import OPSET, OnnxPair, to_onnx
from vseg_nas.graphs.pair import Graph, Output, differences, graph_pair
from vseg_nas.models.aggregations import build_aggregation
from vseg_nas.models.operations import build_operation
from vseg_nas.models.segmenter_file import save_segmenter
from vseg_nas.models.settings import Past
from vseg_nas.space import Genotype
from vseg_nas.space.hand_written import HAND_WRITTEN
from vseg_nas.space.vocabulary import OPERATIONS, STREAMING
from vseg_nas.video.onnx_predictor import OnnxPredictor

CHANNELS = 6
pytestmark = pytest.mark.usefixtures("shallow_networks")  # test_random_cells.py exports the whole ones


class Parts(nn.Module):
    """All operations on the first of two maps and all aggregations of both, one after the other in the channels."""

    names = OPERATIONS + STREAMING.aggregations

    def __init__(self) -> None:
        super().__init__()
        self.operations = nn.ModuleList(build_operation(i, CHANNELS) for i in range(len(OPERATIONS)))
        self.aggregations = nn.ModuleList(build_aggregation(i, CHANNELS) for i in range(len(STREAMING.aggregations)))

    def forward(self, first: Tensor, second: Tensor) -> Tensor:
        results = [operation(first) for operation in self.operations]
        return torch.cat([*results, *(aggregation(first, second) for aggregation in self.aggregations)], 1)


@pytest.fixture(scope="module")
def results_of_parts() -> list[tuple[Tensor, Tensor]]:
    """What torch and the graph make of maps of two sizes."""
    parts, names = shaken(Parts()), ("frame", "layer4")
    example = tuple(torch.randn(1, CHANNELS, 12, 16) for _ in names)
    graph = Graph("next_frame", parts, example, names, ("logits",))
    session = onnxruntime.InferenceSession(to_onnx(graph, METADATA).SerializeToString())
    results = []
    for height, width in ((12, 16), (9, 23)):
        maps = [torch.randn(1, CHANNELS, height, width) for _ in names]
        theirs = session.run(None, {name: x.numpy() for name, x in zip(names, maps, strict=True)})[0]
        with torch.no_grad():
            results.append((parts(*maps), torch.from_numpy(theirs)))
    return results


@pytest.mark.parametrize("name", Parts.names)
def test_an_operation_or_an_aggregation_alone(results_of_parts: list[tuple[Tensor, Tensor]], name: str) -> None:
    first = CHANNELS * Parts.names.index(name)
    for ours, theirs in results_of_parts:
        assert theirs.shape == ours.shape
        found, expected = (both[:, first : first + CHANNELS].numpy() for both in (theirs, ours))
        np.testing.assert_allclose(found, expected, rtol=0, atol=1e-4)


class Exported(NamedTuple):
    """What the command has made of a network."""

    checkpoint: Path
    output: Output
    folder: Path
    pair: tuple[Graph, Graph]
    """The graphs in torch."""
    printed: str


@pytest.fixture(scope="module", params=["logits", pytest.param("labels", marks=pytest.mark.slow)])
def exported(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Exported:
    """One pair of graphs of a hand-written cell, exported by a user."""
    root, output = tmp_path_factory.mktemp("graphs"), request.param
    arguments = ["checkpoint=video.safetensors", "size=[64,96]", f"output={output}", "name=one"]
    with pytest.MonkeyPatch.context() as patch, redirect_stdout(io.StringIO()) as printed:
        make_shallow(patch.setattr)
        segmenter = network(HAND_WRITTEN["local_filters"])
        save_segmenter(segmenter, video_spec(), root / "video.safetensors")
        patch.chdir(root)
        patch.setattr(sys, "argv", ["export", *arguments])
        vseg_nas.export.main()
        pair = graph_pair(segmenter, SIZES[0], output)
    GlobalHydra.instance().clear()
    return Exported(root / "video.safetensors", output, root / "runs/export/one", pair, printed.getvalue())


@pytest.mark.long
def test_the_command_says_how_far_its_graphs_are_from_torch(exported: Exported) -> None:
    assert exported.printed.count("as torch up to") == 2


@pytest.mark.long
def test_the_files_say_what_they_are(exported: Exported) -> None:
    for name, inputs in (("key_frame", ["frame"]), ("next_frame", ["frame", "layer4", "dec"])):
        model = onnx.load(exported.folder / f"{name}.onnx")
        assert [i.name for i in model.graph.input] == inputs
        assert [o.name for o in model.graph.output] == [exported.output, "next_layer4", "next_dec"]
        assert [d.dim_param for d in model.graph.input[0].type.tensor_type.shape.dim][2:] == ["height", "width"]
        assert {entry.domain: entry.version for entry in model.opset_import}[""] == OPSET
        entries = {entry.key: entry.value for entry in model.metadata_props}
        assert GraphMetadata.from_json(entries[KEY]) == metadata_of(video_spec(), exported.output)


@pytest.mark.long
def test_outputs_are_those_of_torch(exported: Exported) -> None:
    found = differences(exported.pair, OnnxPair(exported.folder), SIZES)
    assert max(size.largest for size in found) <= 1e-4


@pytest.mark.long
def test_outputs_are_those_of_torch_whatever_32_leaves_over(exported: Exported) -> None:
    sizes = tuple((side, 160 - side) for side in range(65, 97, 3))
    found = differences(exported.pair, OnnxPair(exported.folder), sizes)
    assert max(size.largest for size in found) <= 1e-4


@pytest.mark.long
def test_a_graph_that_differs_is_refused(exported: Exported) -> None:
    right = OnnxPair(exported.folder)

    def wrong(name: str, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        output, layer4, dec = right(name, inputs)
        return output, layer4, dec + 1e-2 * (name == "next_frame")

    with pytest.raises(DataError, match=r"next_frame: differs from torch by 0\.01 on frames of 64x96"):
        differences(exported.pair, wrong, SIZES)


@pytest.mark.long
def test_exported_graphs_label_a_clip_as_torch_and_without_torch(
    exported: Exported, in_process: InProcess, tmp_path: Path
) -> None:
    rng = np.random.default_rng(0)
    write_video(tmp_path / "clip.mp4", [rng.integers(0, 255, (50, 70, 3), dtype=np.uint8) for _ in range(7)])
    options = ["source=clip.mp4", "labels=true", "key.every=3", "overlay=false", "gpu=cpu", "gpu.threads=1"]
    options += ["size=[64,96]"]
    assert in_process(vseg_nas.predict.main, *options, f"checkpoint={exported.checkpoint}", "name=torch")[0] == 0
    code = (
        "import sys; from vseg_nas.predict import main; main(); "
        "assert not {'torch', 'torchvision', 'albumentations'} & set(sys.modules), 'loaded'"
    )
    command = [sys.executable, "-c", code, *options, "runtime=onnx", f"checkpoint={exported.folder}", "name=onnx"]
    done = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    runs = tmp_path / "runs/predict"
    names = [path.name for path in sorted((runs / "torch/labels").iterdir())]
    assert len(names) == 7
    for name in names:
        ours, theirs = (np.asarray(PillowImage.open(runs / run / "labels" / name)) for run in ("torch", "onnx"))
        assert (ours == theirs).mean() >= 0.999


def test_labels_in_a_graph_are_those_of_the_network() -> None:
    """In torch; with ONNX, whole graphs that give labels are slow tests."""
    segmenter = network(HAND_WRITTEN["local_filters"])
    key, following = graph_pair(segmenter, SIZES[0], "labels")
    frames = torch.randn(2, 3, *SIZES[1], generator=torch.Generator().manual_seed(2))
    with torch.no_grad():
        first, *state = key.module(frames[:1])
        second, *_ = following.module(frames[1:], *state)
        expected = [segmenter.step(frame) for frame in frames]
    for found, label in zip((first, second), expected, strict=True):
        assert (found[0] == label).double().mean() >= 0.999


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


@pytest.mark.long
@pytest.mark.parametrize("past", [pytest.param("current", marks=pytest.mark.slow), "zero"])
def test_pt2_of_the_controls(past: Past, tmp_path: Path) -> None:
    check(network(HAND_WRITTEN["local_filters"], past), "logits", tmp_path, "pt2")


@pytest.mark.long
@pytest.mark.timeout(900)
@pytest.mark.parametrize("kind", [pytest.param("onnx", marks=pytest.mark.slow), "pt2"])
def test_a_cell_of_all_words_of_streaming(kind: str, tmp_path: Path) -> None:
    segmenter = network(ALL_STREAMING)
    pair = graph_pair(segmenter, SIZES[0], "logits")
    assert pair[1].inputs == ("frame", "layer4", "dec", "layer2", "distance")
    check(segmenter, "logits", tmp_path, kind)
    if kind == "pt2":
        return
    frames = torch.randn(4, 3, *SIZES[1], generator=torch.Generator().manual_seed(3))
    predictor = OnnxPredictor(tmp_path, None)
    for frame in frames:  # the distance is counted through the graphs
        labels = predictor.predict(frame[None].numpy(), False, SIZES[1])
        assert (torch.from_numpy(labels) == segmenter.step(frame)).double().mean() >= 0.999


@pytest.mark.parametrize(
    ("genotype", "names"),
    [
        (HAND_WRITTEN["low_latency"], ("layer4", "dec")),
        (HAND_WRITTEN["aligned_low_latency"], ("layer4", "dec")),
        (ALL_STREAMING, ("layer4", "dec", "layer2", "distance")),
    ],
)
def test_graphs_pass_on_what_the_cell_reads(genotype: Genotype, names: tuple[str, ...]) -> None:
    segmenter = network(genotype)
    key, following = graph_pair(segmenter, SIZES[0], "logits")
    assert key.outputs == following.outputs == ("logits", *(f"next_{name}" for name in names))
    with torch.no_grad():
        _, *state = key.module(*key.example)
        _, *after = following.module(*following.example)
    assert len(state) == len(after) == len(names)
    assert all(one.shape == other.shape for one, other in zip(state, after, strict=True))
