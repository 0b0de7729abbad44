from collections.abc import Callable

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vseg_nas.models.aggregations import affine_grid, build_aggregation, local_filter
from vseg_nas.space.vocabulary import AGGREGATIONS, SYMMETRIC_AGGREGATIONS

BN_SCALE = 1 / np.sqrt(1 + 1e-5)  # a fresh batch norm in evaluation
C = 3
EYE = torch.eye(C)[..., None, None]


def build(name: str) -> nn.Module:
    torch.manual_seed(0)
    return build_aggregation(AGGREGATIONS.index(name), C).double().eval()


def pair(batch: int = 2, height: int = 5, width: int = 7) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    x = torch.randn(2, batch, C, height, width, generator=generator, dtype=torch.float64)
    return x[0], x[1]


def only_parameter(module: nn.Module, *shape: int) -> Tensor:
    (parameter,) = (p for p in module.parameters() if p.shape == shape)
    return parameter.data


def test_param_sum_starts_as_the_sum() -> None:
    x1, x2 = pair()
    torch.testing.assert_close(build("param_sum")(x1, x2), x1 + x2)


def test_param_sum_weighs_channels_per_side() -> None:
    module, (x1, x2) = build("param_sum"), pair()
    a, b = (p.data for p in module.parameters())
    a.copy_(torch.tensor([2.0, 0.0, -1.0]).view_as(a))
    b.copy_(torch.tensor([0.5, 3.0, 1.0]).view_as(b))
    out = module(x1, x2)
    torch.testing.assert_close(out[:, 0], 2 * x1[:, 0] + 0.5 * x2[:, 0])
    torch.testing.assert_close(out[:, 1], 3 * x2[:, 1])
    torch.testing.assert_close(out[:, 2], x2[:, 2] - x1[:, 2])


def test_concat_is_normalised_rectified_then_reduced() -> None:
    module, (x1, x2) = build("concat"), pair()
    only_parameter(module, C, 2 * C, 1, 1).copy_(torch.cat((2 * EYE, -EYE), 1))
    torch.testing.assert_close(module(x1, x2), (2 * x1.relu() - x2.relu()) * BN_SCALE)


def predictive(weight: float, bias: list[float]) -> nn.Module:
    module = build("predictive")
    only_parameter(module, 9, C, 3, 3).fill_(weight)
    only_parameter(module, 9).copy_(torch.tensor(bias))
    return module


@pytest.mark.parametrize("tap", range(9))
def test_predictive_with_a_delta_kernel_shifts_the_second_input(tap: int) -> None:
    x1, x2 = pair()
    logits = [0.0] * 9
    logits[tap] = 60.0
    row, column = divmod(tap, 3)
    expected = F.pad(x2, (1, 1, 1, 1))[:, :, row : row + 5, column : column + 7]
    torch.testing.assert_close(predictive(0, logits)(x1, x2), expected)


def test_predictive_with_equal_logits_is_the_mean_of_the_neighbourhood() -> None:
    x1, x2 = pair()
    torch.testing.assert_close(predictive(0, [0.0] * 9)(x1, x2), F.avg_pool2d(x2, 3, 1, 1))


def test_predictive_kernels_come_from_the_pixel_of_the_first_input() -> None:
    module, (x1, x2) = build("predictive"), pair()
    weight = only_parameter(module, 9, C, 3, 3).zero_()
    only_parameter(module, 9).zero_()
    weight[3, 0, 1, 1], weight[5, 0, 1, 1] = 60, -60  # channel 0 chooses the left or the right neighbour
    x1[:, 0] = torch.tensor([1.0, 1, 1, -1, -1, -1, -1])
    padded = F.pad(x2, (1, 1))
    expected = torch.cat((padded[..., 0:3], padded[..., 5:9]), -1)
    torch.testing.assert_close(module(x1, x2), expected)


def test_local_filter_equals_unfolding() -> None:
    x, _ = pair()
    kernels = torch.randn(2, 9, 5, 7, dtype=torch.float64, generator=torch.Generator().manual_seed(2))
    x.requires_grad_()
    kernels.requires_grad_()
    out = local_filter(x, kernels)
    expected = (F.unfold(x, 3, padding=1).view(2, C, 9, 5, 7) * kernels[:, None]).sum(2)
    torch.testing.assert_close(out, expected)
    cotangent = torch.sin(torch.arange(out.numel(), dtype=torch.float64)).view_as(out)
    for ours, theirs in zip(
        torch.autograd.grad(out, (x, kernels), cotangent),
        torch.autograd.grad(expected, (x, kernels), cotangent),
        strict=True,
    ):
        torch.testing.assert_close(ours, theirs)


def test_local_filter_of_half_precision_maps_counts_in_the_precision_of_the_kernels() -> None:
    x, kernels = pair()[0].float(), torch.rand(2, 9, 5, 7, generator=torch.Generator().manual_seed(2))
    half = x.bfloat16().requires_grad_()
    kernels.requires_grad_()
    out = local_filter(half, kernels)
    torch.testing.assert_close(out, local_filter(half.detach().float(), kernels))
    of_half, of_kernels = torch.autograd.grad(out.sum(), (half, kernels))
    assert (of_half.dtype, of_kernels.dtype) == (torch.bfloat16, torch.float32)


def test_affine_bilinear_starts_as_the_first_input() -> None:
    x1, x2 = pair()
    torch.testing.assert_close(build("affine_bilinear")(x1, x2), x1)


@pytest.mark.parametrize(
    ("deviation", "moved"),
    [
        ([0, 0, 2 * 2 / 7, 0, 0, 0], lambda x: F.pad(x, (0, 2))[..., 2:]),  # two pixels along x
        ([0, 0, 0, 0, 0, -2 / 5], lambda x: F.pad(x, (0, 0, 1, 0))[..., :-1, :]),  # one pixel along y
        ([-2, 0, 0, 0, 0, 0], lambda x: x.flip(-1)),
        ([0, 0, 0, 0, -2, 0], lambda x: x.flip(-2)),
    ],
)
def test_affine_bilinear_moves_the_first_input(deviation: list[float], moved: Callable[[Tensor], Tensor]) -> None:
    module, (x1, x2) = build("affine_bilinear"), pair()
    only_parameter(module, 6).copy_(torch.tensor(deviation, dtype=torch.float64))
    torch.testing.assert_close(module(x1, x2), moved(x1))


def test_affine_bilinear_reads_the_mean_of_the_second_input() -> None:
    module, (x1, x2) = build("affine_bilinear"), pair()
    only_parameter(module, 6, 32).normal_(generator=torch.Generator().manual_seed(3))
    out = module(x1, x2)
    torch.testing.assert_close(module(x1, x2.flip(-1).roll(1, -2)), out)
    assert not torch.allclose(module(x1, x2 + 1), out)


def test_affine_grid_equals_torch() -> None:
    deviation = torch.randn(2, 6, dtype=torch.float64, generator=torch.Generator().manual_seed(4))
    identity = torch.tensor([1.0, 0, 0, 0, 1, 0], dtype=torch.float64)
    expected = F.affine_grid((identity + deviation).view(2, 2, 3), [2, C, 5, 7], align_corners=False)
    torch.testing.assert_close(affine_grid(deviation, 5, 7), expected)


def test_affine_bilinear_keeps_positions_in_half_precision() -> None:
    module = build("affine_bilinear").float()
    x = torch.arange(700).remainder(7).float().expand(1, C, 1, 700)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = module(x.bfloat16(), x.bfloat16())
    assert out.dtype == torch.bfloat16
    torch.testing.assert_close(out.float(), x, rtol=0, atol=0.03)


def test_conv_3d_equals_a_three_dimensional_convolution() -> None:
    module, (x1, x2) = build("conv_3d"), pair()
    reference = nn.Conv3d(C, C, (2, 3, 3), padding=(0, 1, 1), bias=False).double()
    weight = only_parameter(module, C, 2 * C, 3, 3)
    weight.copy_(torch.cat((reference.weight[:, :, 0], reference.weight[:, :, 1]), 1))
    expected = reference(torch.stack((x1, x2), 2)).squeeze(2)
    torch.testing.assert_close(module(x1, x2), (expected * BN_SCALE).relu())


def test_dense_attention_gates_the_first_input() -> None:
    module, (x1, x2) = build("dense_attention"), pair()
    np.testing.assert_allclose(module(x1, x2).numpy(), x1.numpy() / (1 + np.exp(-x2.numpy())), rtol=1e-12)
    assert not list(module.parameters())


def randomise(module: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(5)
    for parameter in module.parameters():
        parameter.data = 0.3 * torch.randn(parameter.shape, dtype=torch.float64, generator=generator)
    return module


def test_a_swap_of_sides_changes_every_aggregation() -> None:
    x1, x2 = pair()
    for name in AGGREGATIONS:
        module = randomise(build(name))
        assert not torch.allclose(module(x2, x1), module(x1, x2)), name


@pytest.mark.parametrize("name", [AGGREGATIONS[index] for index in sorted(SYMMETRIC_AGGREGATIONS)])
def test_weights_undo_a_swap_of_sides_of_symmetric_aggregations(name: str) -> None:
    module, (x1, x2) = randomise(build(name)), pair()
    out = module(x1, x2)
    if name == "param_sum":
        a, b = module.parameters()
        a.data, b.data = b.data, a.data
    for parameter in module.parameters():
        for axis, size in enumerate(parameter.shape):
            if size == 2 * C:
                parameter.data = parameter.data.roll(C, axis)
    torch.testing.assert_close(module(x2, x1), out)
