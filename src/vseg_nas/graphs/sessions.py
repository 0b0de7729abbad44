"""Sessions of onnxruntime for exported graphs. Torch is not imported here."""

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
"""The errors of onnxruntime, which have no common base class."""

_CUDA, _CPU = "CUDAExecutionProvider", "CPUExecutionProvider"


def open_session(path: Path, accelerator: str, threads: int | None) -> tuple[Any, GraphMetadata]:
    """Opens a graph.

    Args:
        path: The ONNX file that `export` wrote.
        accelerator: The device to compute on: ``auto``, ``cpu`` or ``cuda``.
        threads: The number of threads of one operator; None means one per core.

    Raises:
        ConfigError: CUDA was requested, and this onnxruntime does not support it.
        DataError: The file is missing, damaged or of another kind.
    """
    available = onnxruntime.get_available_providers()
    if accelerator == "cuda" and _CUDA not in available:
        raise ConfigError("gpu.accelerator: found no CUDA in onnxruntime, expected onnxruntime-gpu; use gpu=cpu")
    if not path.is_file():
        raise DataError(f"{path}: not found, expected a graph that `export format=onnx` wrote")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    if threads is not None:
        options.intra_op_num_threads = threads
    providers = [_CUDA, _CPU] if _CUDA in available and accelerator != "cpu" else [_CPU]
    try:
        session = onnxruntime.InferenceSession(path, options, providers=providers)
        found = session.get_modelmeta().custom_metadata_map.get(KEY, "null")
        return session, GraphMetadata.from_json(found)
    except RUNTIME_ERRORS as error:
        raise DataError(f"{path}: unreadable ({str(error).splitlines()[0][:120]})") from error
    except ValueError as error:
        raise DataError(f"{path}: not a graph of `export` ({error})") from error


def describe_runtime(session: Any) -> str:
    """Returns a description such as ``onnxruntime 1.25.0, CPUExecutionProvider``."""
    return f"onnxruntime {onnxruntime.__version__}, {session.get_providers()[0]}"
