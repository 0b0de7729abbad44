"""Export of graphs to ONNX by torch's exporter, and running them with onnxruntime."""

import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor

from vseg_nas.errors import DataError, missing_extra
from vseg_nas.graphs.metadata import KEY, GraphMetadata
from vseg_nas.graphs.pair import NEXT_FRAME, Graph
from vseg_nas.graphs.sessions import RUNTIME_ERRORS
from vseg_nas.runs.files import write_bytes

try:
    import onnx
    import onnxruntime
    import onnxscript  # noqa: F401 (torch's exporter needs it)
except ImportError as error:
    raise missing_extra(error.name or "onnx", "to export to ONNX", "onnx") from error

OPSET = 20
"""The first version of ONNX's operators for which torch exports all operations; see the test of each operation."""

_PLANES = {"frame": "", "layer4": "_32nd", "dec": "_8th", "layer2": "_8th", "logits": "_8th", "labels": ""}


def write_onnx(graph: Graph, metadata: GraphMetadata, path: Path) -> None:
    """Exports a graph to an ONNX file.

    Args:
        graph: The graph to export.
        metadata: The description that is stored with the graph.
        path: The file to write.

    Raises:
        DataError: The graph has an operator that ONNX or its exporter does not know.
    """
    write_bytes(path, to_onnx(graph, metadata).SerializeToString())


def to_onnx(graph: Graph, metadata: GraphMetadata) -> onnx.ModelProto:
    """Returns a graph as an ONNX model that onnx's checker accepts; see `write_onnx`."""
    logging.getLogger("torch.onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings(action="ignore"):
            program = torch.onnx.export(
                graph.module,
                graph.example,
                dynamo=True,
                opset_version=OPSET,
                input_names=graph.inputs,
                output_names=graph.outputs,
                dynamic_shapes=graph.dynamic_shapes,
                verbose=False,
            )
    except (torch.onnx.errors.OnnxExporterError, RuntimeError) as error:
        raise DataError(f"{graph.name}: cannot be expressed in ONNX ({_reason(error)})") from error
    assert program is not None
    model = program.model_proto
    del model.graph.value_info[:]  # shapes in the exporter's own symbols; runtimes infer them again
    _name_planes(model)
    onnx.helper.set_model_props(model, {KEY: metadata.to_json(), "graph": graph.name})
    onnx.checker.check_model(model)
    return model


class OnnxPair:
    """The exported graphs of a folder, run by onnxruntime on the CPU.

    Args:
        folder: The folder of the ONNX files.
    """

    def __init__(self, folder: Path) -> None:
        self._sessions = {
            path.stem: onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            for path in sorted(folder.glob("*.onnx"))
        }

    def __call__(self, name: str, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Runs one graph.

        Args:
            name: The name of the graph, which is the stem of its file.
            inputs: Its inputs, in the order of `Graph.inputs`.

        Raises:
            DataError: onnxruntime cannot run the graph.
        """
        session = self._sessions[name]
        state = [entry.name.removeprefix("next_") for entry in session.get_outputs()[1:]]
        names = ("frame", *state) if name == NEXT_FRAME else ("frame",)
        taken = {entry.name for entry in session.get_inputs()}  # the exporter drops inputs that nothing reads
        feeds = {key: value.numpy() for key, value in zip(names, inputs, strict=True) if key in taken}
        try:
            return tuple(map(torch.from_numpy, session.run(None, feeds)))
        except RUNTIME_ERRORS as error:
            raise DataError(f"{name}: refused by onnxruntime ({_reason(error)})") from error


def _name_planes(model: onnx.ModelProto) -> None:
    """Names the free sides of inputs and outputs height and width, instead of by the exporter's symbols."""
    for value in (*model.graph.input, *model.graph.output):
        name = value.name.removeprefix("next_")
        if name == "distance":  # one number
            continue
        suffix = _PLANES[name]
        for dim, side in zip(value.type.tensor_type.shape.dim[-2:], ("height", "width"), strict=True):
            dim.dim_param = side + suffix


def _reason(error: BaseException) -> str:
    """Returns the first line of the innermost cause, which names the operator."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0].strip()[:160]
