"""A network as two graphs in a folder, each compared with torch before it is kept."""

from pathlib import Path
from typing import NamedTuple

from vseg_nas.assembly.frame_memory import check_frame_memory
from vseg_nas.graphs.metadata import GraphMetadata
from vseg_nas.graphs.pair import Difference, RunGraph, differences, graph_pair
from vseg_nas.models.segmenter_file import SegmenterSpec, load_for_inference
from vseg_nas.schema import ExportConfig

DEFAULT_SIZE = (192, 256)


class Exported(NamedTuple):
    """The two graphs that were written, and how far they are from torch.

    Attributes:
        files: The files of the two graphs.
        checked: The differences from torch, for each size of frames.
        name: The name of the network.
    """

    files: list[Path]
    checked: list[Difference]
    name: str


def export(config: ExportConfig, folder: Path) -> Exported:
    """Writes and checks the graphs; nothing is left of those that do not agree.

    Raises:
        DataError: The network cannot be expressed, or its graphs differ from torch.
        ExtraError: The packages of the format are not installed.
    """
    segmenter, spec = load_for_inference(config.checkpoint)
    size = config.size or spec.size or DEFAULT_SIZE
    check_frame_memory("size", size)
    pair = graph_pair(segmenter, size, config.output)
    metadata = metadata_of(spec, config.output)
    files = [folder / f"{graph.name}.{config.format}" for graph in pair]
    try:
        if config.format == "onnx":
            from vseg_nas.graphs.onnx_files import OnnxPair, write_onnx

            for graph, path in zip(pair, files, strict=True):
                write_onnx(graph, metadata, path)
            run: RunGraph = OnnxPair(folder)
        else:
            from vseg_nas.graphs.pt2_files import Pt2Pair, write_pt2

            for graph, path in zip(pair, files, strict=True):
                write_pt2(graph, metadata, path)
            run = Pt2Pair(folder)
        checked = differences(pair, run, (size, other_size(size)))
    except BaseException:
        for path in files:
            path.unlink(missing_ok=True)
        raise
    return Exported(files, checked, spec.group)


def metadata_of(spec: SegmenterSpec, output: str) -> GraphMetadata:
    """Returns what the graphs of a network say of themselves."""
    return GraphMetadata(
        spec.group, spec.expression, spec.classes, spec.palette, spec.mean, spec.std, spec.size, output
    )


def other_size(size: tuple[int, int]) -> tuple[int, int]:
    """Returns another size with odd sides, to show that the graphs are not tied to the example."""
    return size[0] * 5 // 8 | 1, size[1] * 7 // 8 | 1
