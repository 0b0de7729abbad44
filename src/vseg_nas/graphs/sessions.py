"""Graphs under onnxruntime; no torch here."""

from pathlib import Path
from typing import Any

from vseg_nas.errors import ConfigError, DataError, missing_extra
from vseg_nas.graphs.metadata import KEY, GraphMetadata

try:
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as states
except ImportError as error:
    raise missing_extra(error.name or "onnxruntime", "for runtime=onnx", "onnx") from error

RUNTIME_ERRORS = (
    states.Fail, states.InvalidArgument, states.InvalidGraph, states.InvalidProtobuf, states.NoSuchFile,
    states.NotImplemented, states.RuntimeException,
)  # fmt: skip
"""What onnxruntime raises; it has no base class of its own."""

_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def open_session(path: Path, accelerator: str, threads: int | None) -> tuple[Any, GraphMetadata]:
    """Reads a graph.

    Args:
        path: of an ONNX file that `export` wrote.
        accelerator: ``auto``, ``cpu`` or ``cuda``.
        threads: of one operator; None: as many as cores.

    Raises:
        ConfigError: CUDA is wanted, and onnxruntime has none.
        DataError: the file is missing, damaged or of another kind.
    """
    there = onnxruntime.get_available_providers()
    if accelerator == "cuda" and _CUDA not in there:
        raise ConfigError("gpu.accelerator: found no CUDA in onnxruntime, expected onnxruntime-gpu; use gpu=cpu")
    if not path.is_file():
        raise DataError(f"{path}: not found, expected a graph that `export format=onnx` wrote")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    providers = [_CUDA, _CPU] if _CUDA in there and accelerator != "cpu" else [_CPU]
    try:
        session = onnxruntime.InferenceSession(path, options, providers=providers)
        found = session.get_modelmeta().custom_metadata_map.get(KEY, "null")
        return session, GraphMetadata.from_json(found)
    except RUNTIME_ERRORS as error:
        raise DataError(f"{path}: unreadable ({str(error).splitlines()[0][:120]})") from error
    except ValueError as error:
        raise DataError(f"{path}: not a graph of `export` ({error})") from error


def describe_runtime(session: Any) -> str:
    """Such as ``onnxruntime 1.25.0, CPUExecutionProvider``."""
    return f"onnxruntime {onnxruntime.__version__}, {session.get_providers()[0]}"
