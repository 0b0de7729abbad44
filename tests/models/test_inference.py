"""The fast form of a video network labels as the plain one does, and runs only what is read."""

import random
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn

from tests.builders import ALL_STREAMING, video_spec
from vseg_nas.models.inference import optimized
from vseg_nas.models.layers import label_map
from vseg_nas.models.segmenter_file import load_segmenter
from vseg_nas.models.settings import Past
from vseg_nas.models.video_segmenter import VideoSegmenter
from vseg_nas.space import Genotype, SearchSpace
from vseg_nas.space.genotype import Layer
from vseg_nas.space.hand_written import HAND_WRITTEN
from vseg_nas.space.vocabulary import AGGREGATIONS, OPERATIONS, STREAMING

SHIPPED = Path(__file__).parents[2] / "weights/camvid_cpu_best_cell.safetensors"
PAIRS = [(op, agg) for op in range(len(OPERATIONS)) for agg in range(len(AGGREGATIONS))]


def build(genotype: Genotype, past: Past = "previous", flow: bool = False) -> VideoSegmenter:
    """With random weights and, unlike a new network, random statistics."""
    spec = video_spec(classes=tuple("abcde"), genotype=genotype, past=past, flow=flow)
    torch.manual_seed(0)
    segmenter = spec.build()
    for module in segmenter.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.normal_(module.running_mean, std=0.2)  # type: ignore[arg-type]
            nn.init.uniform_(module.running_var, 0.5, 2)  # type: ignore[arg-type]
            nn.init.normal_(module.weight, 1, 0.2)
            nn.init.normal_(module.bias, 0, 0.2)
        if isinstance(module, nn.Conv2d | nn.Linear) and not module.weight.any():  # offsets and grids start at zero
            nn.init.normal_(module.weight, 0, 0.02)
    return segmenter.eval()


def frames(count: int, size: tuple[int, int], seed: int = 0) -> Tensor:
    return torch.randn(count, 3, *size, generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def assert_alike(plain: VideoSegmenter, video: Tensor) -> None:
    fast = optimized(plain)
    for one, other in zip(plain(video[None]), fast(video[None]), strict=True):
        scale = one.pred.abs().max()
        assert (one.pred - other.pred).abs().max() <= 1e-4 * scale
    same = [(plain.step(frame) == fast.step(frame)).float().mean().item() for frame in video]
    assert min(same) >= 0.999
    assert not any(isinstance(module, nn.BatchNorm2d) for module in fast.static.modules())
    assert any(isinstance(module, nn.BatchNorm2d) for module in plain.static.modules())  # it is a copy


@pytest.mark.usefixtures("shallow_networks")
@pytest.mark.parametrize(("op", "agg"), PAIRS, ids=[f"{OPERATIONS[op]} {AGGREGATIONS[agg]}" for op, agg in PAIRS])
def test_every_operation_and_aggregation_is_the_same(op: int, agg: int) -> None:
    assert_alike(build(Genotype((Layer(1, 2, op, op, agg),))), frames(3, (64, 96)))


def test_what_streaming_adds_is_the_same() -> None:
    assert_alike(build(ALL_STREAMING), frames(4, (50, 70)))


@pytest.mark.usefixtures("shallow_networks")
@pytest.mark.parametrize("seed", range(4))
def test_cells_are_the_same(seed: int) -> None:
    assert_alike(build(SearchSpace(5).sample(random.Random(seed))), frames(3, (50, 70)))


def test_the_bundled_network_is_the_same() -> None:
    segmenter, _ = load_segmenter(SHIPPED)
    assert_alike(segmenter, frames(4, (90, 120)))


def runs(segmenter: VideoSegmenter, video: Tensor) -> Counter[str]:
    """How often each stage of the encoder runs."""
    counts: Counter[str] = Counter()
    for index, stage in enumerate(segmenter.static.encoder.stages):
        stage.register_forward_hook(lambda *_, index=index: counts.update([f"stage {index + 1}"]))
    for frame in video:
        segmenter.step(frame)
    return counts


def cell(*layers: tuple[int, int]) -> Genotype:
    return Genotype(tuple(Layer(one, other, 0, 4, 0) for one, other in layers))


@pytest.mark.usefixtures("shallow_networks")
@pytest.mark.parametrize(
    ("genotype", "past", "ran"),
    [
        (cell((1, 2)), "previous", (3, 3, 1, 1)),
        (cell((1, 3)), "previous", (3, 3, 3, 1)),
        (cell((1, 4)), "previous", (3, 3, 3, 3)),
        (cell((0, 2)), "previous", (3, 3, 3, 3)),  # the next frame reads it
        (cell((1, 2)), "current", (3, 3, 3, 3)),
        (HAND_WRITTEN["low_latency"], "previous", (3, 3, 1, 1)),
        (HAND_WRITTEN["aligned_low_latency"], "previous", (3, 3, 1, 1)),
        (Genotype((Layer(5, 6, 0, 4, 0),), vocabulary=STREAMING, encoder=4), "previous", (3, 3, 1, 1)),
        (Genotype((Layer(3, 6, 0, 4, 0),), vocabulary=STREAMING, encoder=4), "previous", (3, 3, 3, 1)),
    ],
    ids=[
        *("layer 2", "layer 3", "layer 4", "previous layer 4", "current", "low latency", "aligned low latency"),
        *("previous layer 2 and distance", "layer 3 and distance"),
    ],
)
def test_stages_that_nothing_reads_do_not_run(genotype: Genotype, past: Past, ran: tuple[int, ...]) -> None:
    counts = runs(build(genotype, past), frames(3, (64, 64)))
    assert tuple(counts[f"stage {stage}"] for stage in (1, 2, 3, 4)) == ran


@pytest.mark.usefixtures("shallow_networks")
def test_leaving_stages_out_changes_no_label(monkeypatch: pytest.MonkeyPatch) -> None:
    segmenter, video = build(HAND_WRITTEN["low_latency"]), frames(3, (64, 96))
    short = [segmenter.step(frame) for frame in video]
    monkeypatch.setattr(type(segmenter.propagation), "_stages", 4)
    segmenter.reset()
    assert all(torch.equal(segmenter.step(frame), before) for frame, before in zip(video, short, strict=True))


@pytest.mark.usefixtures("shallow_networks")
def test_flow_moves_only_what_is_there() -> None:
    segmenter = build(HAND_WRITTEN["low_latency"], flow=True)
    assert [segmenter.step(frame).shape for frame in frames(3, (64, 96))] == [(64, 96)] * 3


@pytest.mark.parametrize("size", [(8 * 23, 8 * 9), (4 * 23, 4 * 9), (23, 9), (3 * 23, 27), (181, 75), (8 * 23, 71)])
@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_labels_are_those_of_the_largest_resized_logit(size: tuple[int, int], memory: torch.memory_format) -> None:
    logits = torch.randn(2, 5, 23, 9, generator=torch.Generator().manual_seed(0)).contiguous(memory_format=memory)
    resized = nn.functional.interpolate(logits, size, mode="bilinear", align_corners=False)
    assert torch.equal(label_map(logits, (8 * 23, 8 * 9), size), resized.argmax(1))


@pytest.mark.parametrize(
    ("plane", "size"),
    [
        ((23, 9), (184, 72)),
        ((17, 9), (136, 72)),
        ((23, 20), (184, 160)),
        ((23, 20), (69, 160)),
        ((23, 20), (115, 160)),
        ((23, 9), (161, 71)),
        ((23, 9), (92, 36)),
    ],
)
def test_rounding_decides_between_nearly_equal_logits_as_without_bands(
    plane: tuple[int, int], size: tuple[int, int]
) -> None:
    generator = torch.Generator().manual_seed(0)
    one = torch.randn(1, 1, *plane, generator=generator)
    logits = one + 1e-7 * torch.randn(1, 6, *plane, generator=generator)
    resized = nn.functional.interpolate(logits, size, mode="bilinear", align_corners=False)
    assert torch.equal(label_map(logits, (8 * plane[0], 8 * plane[1]), size), resized.argmax(1))


def test_the_lower_class_wins_a_tie() -> None:
    assert label_map(torch.ones(1, 3, 4, 4), (32, 32)).eq(0).all()
