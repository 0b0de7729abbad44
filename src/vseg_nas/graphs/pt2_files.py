"""Export of graphs to .pt2 files by `torch.export`, and running them."""

from pathlib import Path

import torch
from torch import Tensor

from vseg_nas.errors import DataError
from vseg_nas.graphs.metadata import KEY, GraphMetadata
from vseg_nas.graphs.pair import Graph
from vseg_nas.runs.files import replacing


def write_pt2(graph: Graph, metadata: GraphMetadata, path: Path) -> None:
    """Exports a graph to a .pt2 file.

    Args:
        graph: The graph to export.
        metadata: The description that is stored with the graph.
        path: The file to write.

    Raises:
        DataError: The graph has an operator that torch.export does not know.
    """
    try:
        program = torch.export.export(graph.module, graph.example, dynamic_shapes=graph.dynamic_shapes, strict=False)
    except (RuntimeError, ValueError) as error:
        first = (str(error).splitlines() or [type(error).__name__])[0]
        raise DataError(f"{graph.name}: cannot be expressed by torch.export ({first[:160]})") from error
    with replacing(path) as partial:
        torch.export.save(program, partial, extra_files={KEY: metadata.to_json()})


class Pt2Pair:
    """The exported graphs of a folder, run by torch.

    Args:
        folder: The folder of the .pt2 files.
    """

    def __init__(self, folder: Path) -> None:
        self._modules = {path.stem: torch.export.load(path).module() for path in sorted(folder.glob("*.pt2"))}

    def __call__(self, name: str, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        """Runs the graph of a name on inputs and returns its outputs."""
        with torch.no_grad():
            outputs: tuple[Tensor, ...] = self._modules[name](*inputs)
        return outputs
