from itertools import product

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import nn

from vseg_nas.models import operations
from vseg_nas.models.operations import DilatedDepthwise, build_operation
from vseg_nas.space.vocabulary import OPERATIONS

BN_SCALE = 1 / np.sqrt(1 + 1e-5)  # a fresh batch norm in evaluation


def build(name: str, channels: int = 3) -> nn.Module:
    torch.manual_seed(0)
    return build_operation(OPERATIONS.index(name), channels)


def randn(*shape: int, seed: int = 1) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def weights(module: nn.Module) -> list[NDArray[np.float32]]:
    return [p.detach().numpy() for p in module.parameters()]


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize("shape", [(1, 3, 1, 7), (2, 3, 5, 4), (3, 3, 13, 17)])
def test_the_shape_stays(name: str, shape: tuple[int, int, int, int]) -> None:
    assert build(name)(randn(*shape)).shape == shape


@pytest.mark.parametrize(
    ("name", "kernel", "rate"),
    [("sep_conv_3x3", 3, 1), ("sep_conv_3x3_rate_3", 3, 3), ("sep_conv_5x5_rate_6", 5, 6)],
)
def test_separable_convolution_is_the_written_out_sum(name: str, kernel: int, rate: int) -> None:
    module, x = build(name).eval(), randn(2, 3, 15, 9)
    depthwise, pointwise, *_ = weights(module)
    assert depthwise.shape == (3, 1, kernel, kernel)
    expected = np.zeros(x.shape)
    for row, column, i, j in product(range(15), range(9), range(kernel), range(kernel)):
        r, c = row + rate * (i - kernel // 2), column + rate * (j - kernel // 2)
        if 0 <= r < 15 and 0 <= c < 9:
            expected[:, :, row, column] += depthwise[:, 0, i, j] * x[:, :, r, c].numpy()
    expected = np.einsum("oc,bchw->bohw", pointwise[:, :, 0, 0], expected)
    np.testing.assert_allclose(module(x).detach().numpy(), np.maximum(expected * BN_SCALE, 0), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("name", "kernel", "rate"), [("sep_conv_3x3_rate_3", 3, 3), ("sep_conv_5x5_rate_6", 5, 6)])
@pytest.mark.parametrize("shape", [(1, 4, 1, 1), (2, 4, 5, 7), (2, 4, 12, 18), (1, 4, 23, 30)])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_interleaved_maps_give_the_dilated_convolution_and_its_gradients(
    name: str, kernel: int, rate: int, shape: tuple[int, int, int, int], layout: torch.memory_format
) -> None:
    conv = next(iter(build(name, 4).double().children()))
    assert isinstance(conv, DilatedDepthwise)
    found = []
    for form in (conv, nn.functional.conv2d):
        x = randn(*shape).double().to(memory_format=layout).requires_grad_()
        conv.zero_grad()
        y = conv(x) if form is conv else nn.functional.conv2d(x, conv.weight, None, 1, rate * (kernel // 2), rate, 4)
        (y * randn(*shape, seed=2)).sum().backward()
        assert conv.weight.grad is not None
        found.append((y.detach(), x.grad, conv.weight.grad.clone()))
    for fast, plain in zip(*found, strict=True):
        torch.testing.assert_close(fast, plain)


def test_interleaving_is_for_where_it_is_faster(monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def spy(x: torch.Tensor, weight: torch.Tensor, bias: None, rate: int) -> torch.Tensor:
        calls.append(rate)
        return x

    monkeypatch.setattr(operations, "convolve_interleaved", spy)
    small, large = (next(iter(build(name).children())) for name in ("sep_conv_3x3_rate_3", "sep_conv_5x5_rate_6"))
    x = randn(1, 3, 8, 8)
    small(x), large(x)
    assert calls == [3, 6]
    with torch.no_grad():
        small(x), large(x)
    assert calls == [3, 6, 6]
    torch.export.export(large, (x,))
    assert calls == [3, 6, 6]


def test_global_average_pooling_is_a_constant_plane() -> None:
    module, x = build("global_avg_pool").eval(), randn(2, 3, 5, 7)
    mean = x.numpy().mean((2, 3))
    expected = np.maximum(mean @ weights(module)[0][:, :, 0, 0].T * BN_SCALE, 0)
    out = module(x)
    assert out.shape == x.shape
    np.testing.assert_allclose(
        out.detach().numpy(), np.broadcast_to(expected[..., None, None], x.shape), rtol=1e-5, atol=1e-6
    )


def test_global_average_pooling_trains_on_one_clip_by_running_statistics() -> None:
    module, x = build("global_avg_pool"), randn(1, 3, 5, 7)
    for _ in range(5):
        module(randn(4, 3, 5, 7))
    before = {name: buffer.clone() for name, buffer in module.named_buffers()}
    trained = module(x)
    assert all(torch.equal(buffer, before[name]) for name, buffer in module.named_buffers())
    torch.testing.assert_close(trained, module.eval()(x))
    trained.sum().backward()
    assert all(parameter.grad is not None for parameter in module.parameters())


def test_skip_is_the_identity() -> None:
    x = randn(1, 3, 5, 7)
    assert build("skip")(x) is x
    assert not list(build("skip").parameters())


def test_deformable_convolution_starts_as_half_a_plain_one() -> None:
    module, x = build("deform_conv_3x3").eval(), randn(2, 3, 5, 7)
    (weight,) = (p for p in module.parameters() if p.shape == (3, 3, 3, 3))
    plain = torch.nn.functional.conv2d(x, weight, padding=1)
    torch.testing.assert_close(module(x), (0.5 * plain * BN_SCALE).relu(), rtol=1e-4, atol=1e-5)


def test_deformable_convolution_learns_where_to_look() -> None:
    module = build("deform_conv_3x3")
    (module(randn(2, 3, 5, 7)) * randn(2, 3, 5, 7, seed=2)).sum().backward()
    (gradient,) = (p.grad for p in module.parameters() if p.shape == (27, 3, 3, 3))
    assert gradient is not None
    assert (gradient.abs().amax((1, 2, 3)) > 0).all()  # every offset and every mask
