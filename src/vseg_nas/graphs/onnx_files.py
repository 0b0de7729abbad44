"""Graphs as ONNX files, by torch's exporter, and how onnxruntime runs them."""

import logging
import warnings
from pathlib import Path

import torch
from torch import Tensor

from vseg_nas.errors import DataError, missing_extra
from vseg_nas.files import write_bytes
from vseg_nas.graphs.metadata import KEY, GraphMetadata
from vseg_nas.graphs.pair import NEXT_FRAME, Graph
from vseg_nas.graphs.sessions import RUNTIME_ERRORS

try:
    import onnx
    import onnxruntime
    import onnxscript  # noqa: F401 (torch's exporter needs it)
except ImportError as error:
    raise missing_extra(error.name or "onnx", "to export to ONNX", "onnx") from error

OPSET = 20
"""The first one whose GridSample and DeformConv torch's exporter writes; see the tests of every operation."""

_PLANES = {"frame": "", "layer4": "_32nd", "dec": "_8th", "logits": "_8th", "labels": ""}


def write_onnx(graph: Graph, metadata: GraphMetadata, path: Path) -> None:
    """Exports a graph.

    Raises:
        DataError: it holds an operator that ONNX or its exporter does not know.
    """
    write_bytes(path, to_onnx(graph, metadata).SerializeToString())


def to_onnx(graph: Graph, metadata: GraphMetadata) -> onnx.ModelProto:
    """A graph as ONNX, checked for its form; see `write_onnx`."""
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
    del model.graph.value_info[:]  # shapes in symbols of the exporter; runtimes infer them anew
    _name_planes(model)
    onnx.helper.set_model_props(model, {KEY: metadata.to_json(), "graph": graph.name})
    onnx.checker.check_model(model)
    return model


class OnnxPair:
    """Exported graphs by their names, as functions of tensors."""

    def __init__(self, folder: Path) -> None:
        self._sessions = {
            path.stem: onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
            for path in sorted(folder.glob("*.onnx"))
        }

    def __call__(self, name: str, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Runs one graph.

        Raises:
            DataError: onnxruntime refuses.
        """
        session = self._sessions[name]
        names = ("frame", "layer4", "dec") if name == NEXT_FRAME else ("frame",)
        taken = {entry.name for entry in session.get_inputs()}
        feeds = {key: value.numpy() for key, value in zip(names, inputs, strict=True) if key in taken}
        try:
            return tuple(map(torch.from_numpy, session.run(None, feeds)))
        except RUNTIME_ERRORS as error:
            raise DataError(f"{name}: refused by onnxruntime ({_reason(error)})") from error


def _name_planes(model: onnx.ModelProto) -> None:
    """Says height and width instead of the symbols of the exporter."""
    for value in (*model.graph.input, *model.graph.output):
        suffix = _PLANES[value.name.removeprefix("next_")]
        for dim, side in zip(value.type.tensor_type.shape.dim[-2:], ("height", "width"), strict=True):
            dim.dim_param = side + suffix


def _reason(error: BaseException) -> str:
    """The innermost cause, which names the operator."""
    while error.__cause__ is not None:
        error = error.__cause__
    lines = [line for line in str(error).splitlines() if line.strip()]
    return (lines or [type(error).__name__])[0].strip()[:160]
