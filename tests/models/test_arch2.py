"""The static network against its published figures and against a second implementation of its decoder."""

from collections.abc import Sequence

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vseg_nas.models.arch2 import Arch2Decoder
from vseg_nas.models.complexity import count_macs, count_parameters
from vseg_nas.models.mobilenet_v2 import MobileNetV2Encoder
from vseg_nas.models.static import StaticSegmenter

CAMVID = tuple("abcdefghijk")
CELL = (5, (0, 0, 4, 1), (3, 2, 0, 1), (5, 6, 5, 0))  # as published, in the ids of the authors' operations
CONNECTIONS = ((1, 3), (4, 3), (2, 2))
CONV = {0: (0, 1), 1: (1, 1), 5: (3, 3)}  # id: padding and dilation; 4 is global average pooling

Weights = dict[str, Tensor]


def conv_bn_relu(x: Tensor, w: Weights, conv: str, norm: str, padding: int = 0, dilation: int = 1) -> Tensor:
    x = F.conv2d(x, w[f"{conv}.weight"], padding=padding, dilation=dilation)
    mean, var, scale, shift = (w[f"{norm}.{k}"] for k in ("running_mean", "running_var", "weight", "bias"))
    x = (x - mean[:, None, None]) / (var[:, None, None] + 1e-5).sqrt() * scale[:, None, None] + shift[:, None, None]
    return x.clamp(min=0)


def operation(op: int, x: Tensor, w: Weights, name: str) -> Tensor:
    if op == 4:
        pooled = conv_bn_relu(x.mean((2, 3), keepdim=True), w, f"{name}.conv", f"{name}.norm")
        return F.interpolate(pooled, x.shape[-2:], mode="bilinear")
    return conv_bn_relu(x, w, f"{name}.0", f"{name}.1", *CONV[op])


def cell(x: Tensor, w: Weights, name: str) -> Tensor:
    """Nodes of the pool carry their kind; the sum of the unread ones of kind "first" and "sum" is the output."""
    first, *entries = CELL
    assert isinstance(first, int)
    pool = [("input", x), ("first", operation(first, x, w, f"{name}.first"))]
    read = set()
    for index, entry in enumerate(entries):
        assert isinstance(entry, tuple)
        p, q, op1, op2 = entry
        read |= {p, q}
        one = operation(op1, pool[p][1], w, f"{name}.ops.{index}.0")
        two = operation(op2, pool[q][1], w, f"{name}.ops.{index}.1")
        pool += [("op", one), ("op", two), ("sum", one + two)]
    outputs = [value for node, (kind, value) in enumerate(pool) if kind in ("first", "sum") and node not in read]
    return torch.stack(outputs).sum(0)


def resized(x: Tensor, size: Sequence[int]) -> Tensor:
    """From a plane of half or quarter the size, rounded up; whole cells, of which the last may reach beyond."""
    ratio = next(
        r for r in (1, 2, 4) if all(-(-big // r) == small for big, small in zip(size, x.shape[-2:], strict=True))
    )
    height, width = (ratio * side for side in x.shape[-2:])
    return F.interpolate(x, (height, width), mode="bilinear", align_corners=False)[..., : size[0], : size[1]]


def decoder(taps: Sequence[Tensor], w: Weights) -> tuple[Tensor, Tensor, list[Tensor]]:
    """dec, logits and auxiliary logits."""
    nodes = [conv_bn_relu(tap, w, f"adapters.{i}.0", f"adapters.{i}.1") for i, tap in enumerate(taps)]
    auxiliary = []
    for block, pair in enumerate(CONNECTIONS):
        sides = []
        for side, node in enumerate(pair):
            name = f"blocks.{block}.{side}"
            sides.append(conv_bn_relu(cell(nodes[node], w, f"{name}.0"), w, f"{name}.1.0", f"{name}.1.1"))
        size = max((side.shape[-2:] for side in sides), key=lambda plane: plane[0] * plane[1])
        nodes.append(resized(sides[0], size) + resized(sides[1], size))
        head = f"auxiliary.{block}"
        auxiliary.append(
            F.conv2d(cell(nodes[-1], w, f"{head}.0"), w[f"{head}.1.weight"], w[f"{head}.1.bias"], padding=1)
        )
    loose = [nodes[node] for node in range(4, 7) if not any(node in pair for pair in CONNECTIONS)]
    size = max((node.shape[-2:] for node in loose), key=lambda plane: plane[0] * plane[1])
    dec = conv_bn_relu(F.relu(torch.cat([resized(node, size) for node in loose], 1)), w, "reduce.0", "reduce.1")
    return dec, F.conv2d(dec, w["classifier.weight"], w["classifier.bias"], padding=1), auxiliary


def with_random_norms(module: nn.Module) -> None:
    generator = torch.Generator().manual_seed(0)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d):
            for tensor, low, high in (
                (norm.running_mean, -0.5, 0.5),
                (norm.running_var, 0.5, 2.0),
                (norm.weight.data, 0.5, 2.0),
                (norm.bias.data, -0.5, 0.5),
            ):
                assert tensor is not None
                tensor.uniform_(low, high, generator=generator)


@pytest.mark.parametrize(("classes", "parameters"), [(11, 2_847_371), (19, 2_851_987)])
def test_parameters(classes: int, parameters: int) -> None:
    network = StaticSegmenter(tuple(map(str, range(classes))), auxiliary=False)
    assert count_parameters(network) == parameters  # the paper's 2.85 M
    assert count_parameters(network.encoder) == 1_812_800


def test_macs() -> None:
    ours = count_macs(StaticSegmenter(CAMVID, auxiliary=False), (1, 3, 360, 480))
    assert ours == pytest.approx(2.24e9, rel=0.01)
    unread_adapter = 120 * 90 * 24 * 64  # the authors run the adapter of layer 1, though nothing reads it
    assert ours + unread_adapter == pytest.approx(2.24e9, rel=0.002)


def test_decoder_agrees_with_a_second_implementation() -> None:
    torch.manual_seed(0)
    module = Arch2Decoder(11).double().eval()
    with_random_norms(module)
    planes = ((25, 33), (13, 17), (7, 9), (4, 5))
    taps = [torch.randn(2, c, *p, dtype=torch.float64) for c, p in zip((24, 32, 96, 320), planes, strict=True)]
    module.training = True  # of the decoder alone: its heads run, its batch norms still use their statistics
    with torch.no_grad():
        found = module(taps)
        expected = decoder(taps, module.state_dict())
    assert found[1].std() > 0.1
    torch.testing.assert_close(found, expected, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(("height", "width"), [(97, 131), (64, 96)])
def test_sizes_are_rounded_up(height: int, width: int) -> None:
    network = StaticSegmenter(CAMVID).eval()
    with torch.no_grad():
        output = network(torch.randn(1, 3, height, width))
    for tap, channels, stride in zip(output.encoder, (24, 32, 96, 320), (4, 8, 16, 32), strict=True):
        assert tap.shape == (1, channels, -(-height // stride), -(-width // stride))
    plane = (-(-height // 8), -(-width // 8))
    assert output.dec.shape == (1, 64, *plane)
    assert output.pred.shape == (1, 11, *plane)
    assert output.auxiliary == []


def test_one_frame_trains_with_auxiliary_heads() -> None:
    network = StaticSegmenter(CAMVID).train()
    output = network(torch.randn(1, 3, 64, 96))
    planes = [tuple(logits.shape) for logits in output.auxiliary]
    assert planes == [(1, 11, 8, 12), (1, 11, 8, 12), (1, 11, 4, 6)]
    torch.stack([logits.square().mean() for logits in (output.pred, *output.auxiliary)]).sum().backward()  # type: ignore[no-untyped-call]
    without = {name for name, parameter in network.named_parameters() if parameter.grad is None}
    assert without == {name for name, _ in network.named_parameters() if name.startswith("decoder.adapters.0.")}


def test_taps_are_those_of_torchvision() -> None:
    encoder = MobileNetV2Encoder().eval()
    blocks = [block for stage in encoder.stages for block in stage.children()]
    x = torch.randn(1, 3, 64, 64)
    with torch.no_grad():
        taps = encoder(x)
        for number, block in enumerate(blocks):
            x = block(x)
            if number in (4, 7, 14, 18):
                assert torch.equal(x, taps[(4, 7, 14, 18).index(number)])
    assert len(blocks) == 19  # 18 of torchvision's and the expansion
