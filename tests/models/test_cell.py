from itertools import product

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vseg_nas.models.cell import INPUT_CHANNELS, DynamicCell
from vseg_nas.space.genotype import Genotype, Layer, Width
from vseg_nas.space.vocabulary import AGGREGATIONS, INPUTS, OPERATIONS

SKIP, SUM, CONCAT = OPERATIONS.index("skip"), AGGREGATIONS.index("param_sum"), AGGREGATIONS.index("concat")
PREV_LAYER4, PREV_DEC, LAYER2, LAYER3, LAYER4 = range(5)
PLANES = (
    (4, 5),
    (13, 17),
    (13, 17),
    (7, 9),
    (4, 5),
)  # an odd image of 104 x 136, at 1/32, 1/8, 1/8, 1/16, 1/32
BN_SCALE = (1 + 1e-5) ** -0.5


def inputs(
    batch: int = 2, channels: tuple[int, ...] = INPUT_CHANNELS, planes: tuple[tuple[int, int], ...] = PLANES
) -> list[Tensor]:
    generator = torch.Generator().manual_seed(0)
    return [torch.randn(batch, c, *plane, generator=generator) for c, plane in zip(channels, planes, strict=True)]


def build(
    *layers: tuple[int, int, int, int, int],
    width: Width = 64,
    channels: tuple[int, int, int, int, int] = INPUT_CHANNELS,
    dec: int = 64,
) -> DynamicCell:
    torch.manual_seed(0)
    return DynamicCell(Genotype(tuple(Layer(*layer) for layer in layers), width), channels, dec)


def parameters(cell: DynamicCell) -> int:
    return sum(p.numel() for p in cell.parameters())


@pytest.mark.parametrize(("op", "aggregation"), product(range(len(OPERATIONS)), range(len(AGGREGATIONS))))
def test_every_operation_trains_under_every_aggregation(op: int, aggregation: int) -> None:
    for batch in (1, 2):
        cell = build((PREV_DEC, LAYER4, op, op, aggregation), (5, LAYER3, SKIP, op, aggregation), width=8)
        features = inputs(batch)
        kept = [x.clone() for x in features]
        dec = cell(*features)
        assert dec.shape == (batch, 64, 13, 17)
        dec.square().mean().backward()
        for name, parameter in cell.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.isfinite().all(), name
        assert all(torch.equal(x, before) for x, before in zip(features, kept, strict=True))


@pytest.mark.parametrize("width", [64, "native"])
def test_the_cell_runs_without_data(width: Width) -> None:
    pairs = list(product(range(len(OPERATIONS)), range(len(AGGREGATIONS))))
    for start in range(0, len(pairs), 6):
        with torch.device("meta"):
            cell = build(
                *((LAYER2, LAYER4, op, op, aggregation) for op, aggregation in pairs[start : start + 6]),
                width=width,
            )
            dec = cell(*(torch.empty(1, c, *plane) for c, plane in zip(INPUT_CHANNELS, PLANES, strict=True)))
        assert dec.shape == (1, 64, 13, 17)
        assert dec.is_meta


def identity_reduction(cell: DynamicCell, *blocks: float) -> DynamicCell:
    """The last 1x1 convolution becomes a weighted sum of the outputs."""
    weight = cell.reduce[0].get_parameter("weight")
    weight.data = torch.cat([block * torch.eye(len(weight))[..., None, None] for block in blocks], 1)
    return cell.eval()


def test_one_layer_of_skips_is_the_sum_at_the_finer_plane() -> None:
    channels = (3, 3, 3, 3, 3)
    cell = identity_reduction(build((LAYER4, PREV_DEC, SKIP, SKIP, SUM), width="native", channels=channels, dec=3), 1)
    features = inputs(channels=channels)
    up = F.interpolate(features[LAYER4], (16, 20), mode="bilinear", align_corners=False)[..., :13, :17]
    torch.testing.assert_close(cell(*features), (up + features[PREV_DEC]).relu() * BN_SCALE)


def test_unread_layers_are_concatenated_in_order_at_the_finest() -> None:
    channels = (3, 3, 3, 3, 3)
    layers = [(LAYER4, LAYER4, SKIP, SKIP, SUM), (LAYER3, LAYER3, SKIP, SKIP, SUM), (5, 5, SKIP, SKIP, SUM)]
    cell = identity_reduction(build(*layers, width="native", channels=channels, dec=3), 1, 10)
    features = inputs(channels=channels)
    deep = F.interpolate(4 * features[LAYER4], (8, 10), mode="bilinear", align_corners=False)[..., :7, :9]
    at_16 = (10 * deep.relu() + (2 * features[LAYER3]).relu()) * BN_SCALE
    at_8 = F.interpolate(at_16, (14, 18), mode="bilinear", align_corners=False)[..., :13, :17]
    torch.testing.assert_close(cell(*features), at_8)


@pytest.mark.parametrize("width", [16, "native"])
def test_dec_always_has_the_plane_of_layer_2(width: Width) -> None:
    cell = build((PREV_LAYER4, LAYER4, SKIP, SKIP, CONCAT), width=width)
    assert cell(*inputs()).shape == (2, 64, 13, 17)


def test_only_inputs_that_are_read_are_adapted_and_matter() -> None:
    cell = build((PREV_DEC, LAYER3, SKIP, SKIP, SUM), (5, LAYER3, SKIP, SKIP, SUM)).eval()
    assert set(cell.adapters) == {"prev_dec", "layer3"}
    features = inputs()
    dec = cell(*features)
    for source in range(len(INPUTS)):
        changed = list(features)
        changed[source] = features[source] + 1
        assert torch.equal(cell(*changed), dec) is (source not in (PREV_DEC, LAYER3))


def test_parameters_of_a_uniform_cell() -> None:
    adapters = 64 * 64 + 2 * 64 + 32 * 64 + 2 * 64
    assert parameters(build((PREV_DEC, LAYER2, SKIP, SKIP, SUM))) == adapters + 2 * 64 + 64 * 64 + 2 * 64


def test_parameters_of_a_native_cell() -> None:
    same = (PREV_LAYER4, LAYER4, SKIP, SKIP, SUM)  # 320 and 320: nothing to match
    mixed = (LAYER2, 5, SKIP, SKIP, SUM)  # 32 and 320: the first is widened
    widened = 32 * 320 + 2 * 320
    assert parameters(build(same, width="native")) == 2 * 320 + 320 * 64 + 2 * 64
    assert parameters(build(same, mixed, width="native")) == 2 * 320 + widened + 2 * 320 + 320 * 64 + 2 * 64


def test_the_order_of_layers_is_a_matter_of_spelling() -> None:
    first, second = (PREV_DEC, LAYER2, 0, SKIP, CONCAT), (LAYER3, PREV_DEC, SKIP, 2, SUM)
    cell, relabelled = build(first, second).eval(), build(second, first).eval()
    state = {
        name.replace("layers.0", "layers.x").replace("layers.1", "layers.0").replace("layers.x", "layers.1"): value
        for name, value in cell.state_dict().items()
    }
    state["reduce.0.weight"] = torch.cat(state["reduce.0.weight"].split(64, 1)[::-1], 1)
    relabelled.load_state_dict(state)
    assert cell.genotype.key == relabelled.genotype.key
    torch.testing.assert_close(relabelled(*inputs()), cell(*inputs()))
