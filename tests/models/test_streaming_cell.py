"""Cells of the streaming vocabulary: what they read of the past, and what is carried for them from frame to frame."""

import itertools
import random

import pytest
import torch
from torch import Tensor, nn

from tests.builders import ALL_STREAMING, video_spec
from tests.fixtures import MakeFeatures
from vseg_nas.evaluation.frame_macs import frame_macs
from vseg_nas.models import propagation
from vseg_nas.models.cell import FARTHEST, DynamicCell
from vseg_nas.models.propagation import CellPropagation, FrameState
from vseg_nas.models.segmenter_file import SegmenterSpec
from vseg_nas.models.settings import Past
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.models.video_segmenter import VideoSegmenter
from vseg_nas.space import Genotype, Layer, SearchSpace
from vseg_nas.space.genotype import Width
from vseg_nas.space.hand_written import HAND_WRITTEN
from vseg_nas.space.vocabulary import STREAMING
from vseg_nas.training.cell_module import CellModule
from vseg_nas.training.settings import CellTraining

PREV_LAYER2, DISTANCE = (STREAMING.inputs.index(name) for name in ("prev_layer2", "distance"))
CHANNELS = (320, 64, 32, 96, 320, 32)
STRIDES = (32, 8, 8, 16, 32, 8)
PAIRS = [
    (op, aggregation)
    for op in range(len(STREAMING.operations))
    for aggregation in map(STREAMING.aggregations.index, ("align", "gated_residual"))
]


def inputs(size: tuple[int, int], batch: int = 2, distance: float = 1.0) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    planes = [
        torch.randn(batch, channels, *(-(-side // stride) for side in size), generator=generator)
        for channels, stride in zip(CHANNELS, STRIDES, strict=True)
    ]
    return [*planes, torch.full((batch, 1, 1, 1), distance)]


def shaken(module: nn.Module) -> nn.Module:
    """With weights and statistics that are nowhere zero or one by chance."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.1 * torch.randn(parameter.shape, generator=generator))
    return module.eval()


@pytest.mark.parametrize(("op", "aggregation"), PAIRS)
def test_every_operation_trains_under_what_is_new(op: int, aggregation: int) -> None:
    genotype = Genotype((Layer(2, 1, op, op, aggregation), Layer(7, PREV_LAYER2, op, 4, aggregation)), 8, STREAMING, 2)
    cell = DynamicCell(genotype)
    cell(*inputs((104, 136))).square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in cell.parameters())


@pytest.mark.parametrize("width", [16, "native"])
def test_random_cells_run_at_any_size(width: Width) -> None:
    space = SearchSpace(4, width, STREAMING)
    for seed, (height, rest) in enumerate(zip(range(1, 21, 3), itertools.cycle((1, 20, 7)))):
        cell = DynamicCell(space.sample(random.Random(seed))).eval()
        size = (8 * height, 8 * rest - 3)
        assert cell(*inputs(size)).shape == (2, 64, height, rest)


@pytest.mark.parametrize("width", [16, "native"])
def test_the_distance_starts_without_effect_and_is_learnt(width: Width) -> None:
    genotype = Genotype((Layer(2, DISTANCE, 0, 4, 0),), width, STREAMING, 2)
    torch.manual_seed(0)
    cell = DynamicCell(genotype)
    near, far = inputs((48, 64), distance=1), inputs((48, 64), distance=5)
    cell.eval()
    assert torch.equal(cell(*near), cell(*far))
    cell.train()
    cell(*far).square().mean().backward()
    (conv,) = (m for m in cell.modules() if isinstance(m, nn.Conv2d) and m.in_channels == 1 and m.groups == 1)
    assert conv.weight.grad is not None
    assert conv.weight.grad.any()
    assert not any(norm.num_features == 1 for norm in cell.modules() if isinstance(norm, nn.BatchNorm2d))


def test_the_distance_is_an_eighth_a_frame_up_to_eight() -> None:
    cell = DynamicCell(Genotype((Layer(2, DISTANCE, 4, 4, 0),), 16, STREAMING, 2)).eval()
    seen: list[Tensor] = []
    cell.adapters["distance"].register_forward_pre_hook(lambda _, planes: seen.append(planes[0]))
    for distance in (0, 1, 5, FARTHEST, 30):
        cell(*inputs((50, 70), distance=distance))
    assert all(plane.shape == (2, 1, 7, 9) for plane in seen)
    assert [plane.mean().item() for plane in seen] == [0, 0.125, 0.625, 1, 1]


def test_inputs_that_are_not_read_are_not_needed() -> None:
    cell = DynamicCell(HAND_WRITTEN["aligned_low_latency"]).eval()
    assert cell.reads == {"layer2", "prev_dec"}
    assert set(cell.adapters) == cell.reads
    planes = inputs((48, 64))
    assert torch.equal(cell(*planes), cell(*planes[:5]))


def spec_of(genotype: Genotype, past: Past = "previous", flow: bool = False) -> SegmenterSpec:
    return video_spec(genotype=genotype, past=past, flow=flow)


def network(genotype: Genotype, past: Past = "previous", flow: bool = False) -> VideoSegmenter:
    torch.manual_seed(0)
    segmenter = spec_of(genotype, past, flow).build()
    shaken(segmenter)
    return segmenter


def video(frames: int, seed: int = 0, size: tuple[int, int] = (48, 64)) -> Tensor:
    return torch.randn(1, frames, 3, *size, generator=torch.Generator().manual_seed(seed))


@torch.no_grad()
def test_a_state_holds_what_the_next_frame_reads() -> None:
    states: list[FrameState] = network(ALL_STREAMING)(video(11))
    assert [state.distance.item() for state in states if state.distance is not None] == list(range(11))
    assert all(state.layer2 is not None and state.layer2.shape == (1, 32, 6, 8) for state in states)
    for name in ("low_latency", "aligned_low_latency", "local_filters"):
        for state in network(HAND_WRITTEN[name])(video(3)):
            assert state.layer2 is state.distance is None


@torch.inference_mode()
def test_steps_count_the_distance_from_the_last_key_frame() -> None:
    segmenter = network(ALL_STREAMING)
    segmenter.key_every = 3
    seen: list[float] = []
    segmenter.propagation.cell.register_forward_pre_hook(  # type: ignore[union-attr]
        lambda _, planes: seen.append(planes[6].item())
    )
    for frame in video(8)[0]:
        segmenter.step(frame)
    assert seen == [1, 2, 1, 2, 1]
    segmenter.reset().step(video(1)[0, 0])
    segmenter.step(video(1)[0, 0])
    assert seen[-1] == 1


@pytest.mark.parametrize("past", ["previous", "zero", "current"])
@torch.no_grad()
def test_what_reaches_the_cell(past: Past) -> None:
    segmenter = network(ALL_STREAMING, past)
    seen: list[tuple[Tensor, ...]] = []
    segmenter.propagation.cell.register_forward_pre_hook(  # type: ignore[union-attr]
        lambda _, planes: seen.append(planes)
    )
    clip = video(3)
    states = segmenter(clip)
    taps = [segmenter.static.encode(frame[None]) for frame in clip[0]]
    for t, planes in enumerate(seen, start=1):
        dec, layer2, before, distance = planes[1], planes[2], planes[5], planes[6]
        assert torch.equal(layer2, taps[t].layer2)
        match past:
            case "previous":
                assert torch.equal(before, taps[t - 1].layer2)
                assert torch.equal(dec, states[t - 1].dec)
                assert distance.item() == t
            case "zero":
                assert not before.any()
                assert not dec.any()
                assert distance.item() == 0
            case "current":
                assert torch.equal(before, taps[t].layer2)
                assert torch.equal(dec, segmenter.static(clip[:, t]).dec)
                assert distance.item() == 0


@torch.no_grad()
def test_layer_2_of_the_previous_frame_is_warped(monkeypatch: pytest.MonkeyPatch) -> None:
    def steady(current: Tensor, previous: Tensor) -> Tensor:
        return torch.tensor([16.0, -8.0])[:, None, None].expand(1, 2, *current.shape[-2:]).contiguous()

    monkeypatch.setattr(propagation, "dis_flow", steady)
    segmenter, seen = network(ALL_STREAMING, flow=True), list[Tensor]()
    segmenter.propagation.cell.register_forward_pre_hook(  # type: ignore[union-attr]
        lambda _, planes: seen.append(planes[5])
    )
    clip = video(2)
    segmenter(clip)
    before = segmenter.static.encode(clip[:, 0]).layer2
    torch.testing.assert_close(seen[0][..., 1:, :-2], before[..., :-1, 2:])


@pytest.mark.parametrize("past", ["previous", "zero"])
@torch.no_grad()
def test_rolling_equals_the_training_module_on_cached_features(make_features: MakeFeatures, past: Past) -> None:
    segmenter = network(ALL_STREAMING, past)
    clip, static = video(5), segmenter.static
    key, taps = static(clip[:, 0]), static.encode(clip[0, 1:])
    features = make_features(clips=1, frames=5)._replace(
        key_layer4=key.encoder.layer4,
        key_dec=key.dec,
        key_layer2=key.encoder.layer2,
        layer2=taps.layer2[None],
        layer3=taps.layer3[None],
        layer4=taps.layer4[None],
    )
    propagated = segmenter.propagation
    assert isinstance(propagated, CellPropagation)
    module = CellModule(propagated.cell, propagated.classifier, CellTraining(), past).eval()
    logits = list(module(features))
    assert len(logits) == 4
    for ours, state in zip(logits, segmenter(clip)[1:], strict=True):
        torch.testing.assert_close(ours, state.pred, rtol=1e-4, atol=1e-4)


def test_features_along_flow_warp_layer_2(make_features: MakeFeatures) -> None:
    torch.manual_seed(0)
    module = CellModule(DynamicCell(ALL_STREAMING), nn.Conv2d(64, 4, 1), CellTraining()).eval()
    features = make_features(clips=1)
    flow = torch.zeros(1, 2, 2, 6, 8)
    flow[:, :, 0] = 1.0
    seen: list[Tensor] = []
    module.cell.register_forward_pre_hook(lambda _, planes: seen.append(planes[5]))
    list(module(features._replace(flow=flow)))
    torch.testing.assert_close(seen[0][..., :-1], features.key_layer2[..., 1:])
    torch.testing.assert_close(seen[1][..., :-1], features.layer2[:, 0, ..., 1:])


def test_specifications_keep_streaming_cells() -> None:
    spec = spec_of(ALL_STREAMING)
    assert SegmenterSpec.from_dict(spec.to_dict()) == spec


def test_alignment_costs_three_per_cent_of_a_cheap_frame() -> None:
    size = (360, 480)
    plain, aligned = (frame_macs(network(HAND_WRITTEN[f"{name}low_latency"]), size)[1] for name in ("", "aligned_"))
    assert plain is not None
    assert aligned is not None
    pixels = 45 * 60
    assert aligned - plain == pixels * (2 * 64 * 16 + 25 * (16 + 64))
    assert aligned < 1.03 * plain


def test_what_is_not_read_costs_no_mac() -> None:
    """The same cell in both vocabularies."""
    layers = (Layer(2, 1, 0, 4, 1),)
    static = StaticSegmenter(("a", "b", "c"), auxiliary=False)
    counts = [
        frame_macs(
            VideoSegmenter(static, CellPropagation(DynamicCell(genotype), nn.Conv2d(64, 3, 3, padding=1))), (64, 96)
        )
        for genotype in (Genotype(layers), Genotype(layers, 64, STREAMING, 4))
    ]
    assert counts[0] == counts[1]
