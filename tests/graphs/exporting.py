"""Networks to export, and how far an export of one is from torch."""

from __future__ import annotations

from pathlib import Path
from typing import cast

import torch
from torch import nn

from tests.builders import video_spec
from vseg_nas.graphs.metadata import GraphMetadata
from vseg_nas.graphs.onnx_files import OnnxPair, write_onnx
from vseg_nas.graphs.pair import Output, RunGraph, differences, graph_pair
from vseg_nas.graphs.pt2_files import Pt2Pair, write_pt2
from vseg_nas.models.settings import Past
from vseg_nas.models.video_segmenter import VideoSegmenter
from vseg_nas.space import Genotype

METADATA = GraphMetadata("n", "e", ("a", "b"), ((0, 0, 0), (1, 1, 1)), (0.5,) * 3, (0.2,) * 3, None, "logits")
SIZES = ((64, 96), (71, 85))


def network(genotype: Genotype, past: Past = "previous", flow: bool = False, seed: int = 0) -> VideoSegmenter:
    """With random weights and statistics, so that nothing is zero or one by chance."""
    spec = video_spec(genotype=genotype, past=past, flow=flow)
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


def check(segmenter: VideoSegmenter, output: Output, folder: Path, kind: str) -> None:
    pair = graph_pair(segmenter, SIZES[0], output)
    write = write_onnx if kind == "onnx" else write_pt2
    for graph in pair:
        write(graph, METADATA, folder / f"{graph.name}.{kind}")
    run: RunGraph = OnnxPair(folder) if kind == "onnx" else Pt2Pair(folder)
    assert max(found.largest for found in differences(pair, run, SIZES)) <= 1e-4
