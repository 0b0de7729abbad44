"""Window attention and the gated residual in closed form, against their naive forms, and at any size."""

import math
from collections.abc import Callable

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from vseg_nas.models.aggregations import Align, GatedResidual, local_correlation, local_filter
from vseg_nas.models.complexity import count_macs

SIDE = 2 * Align.RADIUS + 1


def plane(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def aligned(channels: int, seed: int = 0, spread: float = 1.0) -> Align:
    torch.manual_seed(seed)
    module = Align(channels).double()
    for parameter in module.parameters():
        parameter.data += spread * torch.randn_like(parameter)
    return module


def naive(module: Align, x1: Tensor, x2: Tensor) -> Tensor:
    """By unfolding; neighbours outside are marked by unfolding a plane of ones."""
    batch, _, height, width = x2.shape
    keys, values, inside = (
        F.unfold(x, SIDE, padding=Align.RADIUS).view(batch, -1, SIDE**2, height, width)
        for x in (module.key(x2), x2, torch.ones_like(x2[:, :1]))
    )
    scores = torch.einsum("bchw,bckhw->bkhw", module.query(x1), keys) / math.sqrt(Align.CHANNELS) + module.bias
    weights = scores.masked_fill(inside[:, 0] == 0, -math.inf).softmax(1)
    return torch.einsum("bckhw,bkhw->bchw", values, weights)


def test_align_equals_its_naive_form_with_all_gradients() -> None:
    module = aligned(6)
    x1, x2 = (plane(2, 6, 5, 7, seed=seed).requires_grad_() for seed in (1, 2))
    ours, theirs = module(x1, x2), naive(module, x1, x2)
    torch.testing.assert_close(ours, theirs)
    cotangent = plane(*ours.shape, seed=3)
    wanted = (x1, x2, *module.parameters())
    for one, other in zip(
        torch.autograd.grad(ours, wanted, cotangent), torch.autograd.grad(theirs, wanted, cotangent), strict=True
    ):
        torch.testing.assert_close(one, other)


@pytest.mark.parametrize(("down", "across"), [(0, 0), (2, 0), (-1, 2), (1, -2), (-2, -2)])
def test_one_hot_queries_move_the_past_by_whole_pixels(down: int, across: int) -> None:
    """Row and column modulo 5 as one-hot codes: each place knows itself among its 25 neighbours."""
    height, width = 9, 11
    codes = torch.zeros(1, 10, height + 4, width + 4, dtype=torch.float64)
    for i in range(height + 4):
        for j in range(width + 4):
            codes[0, i % 5, i, j] = codes[0, 5 + j % 5, i, j] = 1.0
    past = codes[:, :, 2:-2, 2:-2]
    now = codes[:, :, 2 + down : 2 + down + height, 2 + across : 2 + across + width]
    module = Align(10).double()
    eye = torch.eye(Align.CHANNELS, 10, dtype=torch.float64)[..., None, None]
    module.query.weight.data, module.key.weight.data = 400 * eye, eye
    found = module(now, past)
    rows, columns = (slice(max(0, -shift), size - max(0, shift)) for shift, size in ((down, height), (across, width)))
    torch.testing.assert_close(found[..., rows, columns], now[..., rows, columns])


def test_align_starts_as_a_preference_for_the_centre() -> None:
    module, x2 = Align(8).double(), plane(1, 8, 9, 9, seed=2)
    module.query.weight.data.zero_()
    share = math.exp(4) / (math.exp(4) + SIDE**2 - 1)
    assert share > 0.69
    total = F.avg_pool2d(x2, SIDE, 1) * SIDE**2
    centre = x2[..., 2:-2, 2:-2]
    expected = share * centre + (1 - share) / (SIDE**2 - 1) * (total - centre)
    torch.testing.assert_close(module(x2, x2)[..., 2:-2, 2:-2], expected)


@pytest.mark.parametrize("height", [1, 2, 3, 4, 7, 20])
@pytest.mark.parametrize("width", [1, 2, 5, 13, 20])
def test_neighbours_outside_have_no_weight(height: int, width: int) -> None:
    """So a mean of equal values is that value, at every size."""
    module, x1 = aligned(3, spread=3.0), plane(2, 3, height, width)
    torch.testing.assert_close(module(x1, torch.full_like(x1, 2.5)), torch.full_like(x1, 2.5))
    x2 = plane(2, 3, height, width, seed=5)
    torch.testing.assert_close(module(x1, x2), naive(module, x1, x2))
    assert module(x1, x2).abs().max() <= x2.abs().max()  # it is a mean


@pytest.mark.parametrize("side", [1, 3, 5, 7])
def test_filters_of_any_odd_size_and_their_products_equal_unfolding(side: int) -> None:
    x1, x2 = plane(2, 3, 4, 6, seed=1), plane(2, 3, 4, 6, seed=2)
    kernels = plane(2, side**2, 4, 6, seed=3)
    unfolded = F.unfold(x2, side, padding=side // 2).view(2, 3, side**2, 4, 6)
    torch.testing.assert_close(local_filter(x2, kernels), (unfolded * kernels[:, None]).sum(2))
    torch.testing.assert_close(local_correlation(x1, x2, side // 2), (unfolded * x1[:, :, None]).sum(1))


@pytest.mark.parametrize(("height", "width"), [(3, 4), (1, 2)])
def test_gradients_are_those_of_finite_differences(height: int, width: int) -> None:
    x1, x2 = (plane(1, 2, height, width, seed=seed).requires_grad_() for seed in (1, 2))
    kernels = plane(1, 25, height, width, seed=3).requires_grad_()
    assert torch.autograd.gradcheck(local_filter, (x2, kernels))
    assert torch.autograd.gradcheck(lambda one, other: local_correlation(one, other, 2), (x1, x2))
    for module in (aligned(2), GatedResidual(2).double()):
        weights = tuple(module.parameters())
        assert torch.autograd.gradcheck(_of_weights(module), (x1, x2, *weights))


def _of_weights(module: nn.Module) -> Callable[..., Tensor]:
    names = [name for name, _ in module.named_parameters()]

    def call(x1: Tensor, x2: Tensor, *weights: Tensor) -> Tensor:
        out: Tensor = torch.func.functional_call(module, dict(zip(names, weights, strict=True)), (x1, x2))
        return out

    return call


def test_the_gate_starts_nearly_closed_and_learns_to_open() -> None:
    module = GatedResidual(4).double()
    x1, x2 = plane(2, 4, 5, 6, seed=1), plane(2, 4, 5, 6, seed=2).clamp(-1, 1)
    assert (module(x1, x2) - x1).abs().max() <= 0.05
    torch.testing.assert_close(module(x1, x2), x1 + x2 / (1 + math.exp(3)))
    eye = torch.eye(4, dtype=torch.float64)[..., None, None]
    module.gate.weight.data = torch.cat((2 * eye, -eye), 1)
    assert module.gate.bias is not None
    torch.testing.assert_close(module(x1, x2), x1 + torch.sigmoid(2 * x1 - x2 - 3) * x2)


def test_all_parameters_learn_from_the_start() -> None:
    for module in (Align(4).double(), GatedResidual(4).double()):
        (module(plane(2, 4, 5, 6, seed=1), plane(2, 4, 5, 6, seed=2)) * plane(2, 4, 5, 6, seed=3)).sum().backward()
        assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in module.parameters())


@pytest.mark.parametrize("build", [Align, GatedResidual])
def test_channels_last_is_the_plain_form(build: type[nn.Module]) -> None:
    torch.manual_seed(0)
    module = build(8).double()
    x1, x2 = plane(2, 8, 6, 7, seed=1), plane(2, 8, 6, 7, seed=2)
    expected = module(x1, x2)
    module = module.to(memory_format=torch.channels_last)
    found = module(*(x.contiguous(memory_format=torch.channels_last) for x in (x1, x2)))
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("build", [Align, GatedResidual])
def test_half_precision_stays_near_single(build: type[nn.Module]) -> None:
    torch.manual_seed(0)
    module = build(8)
    x1, x2 = (plane(2, 8, 6, 7, seed=seed, dtype=torch.float32).requires_grad_() for seed in (1, 2))
    expected = module(x1, x2)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = module(x1.bfloat16(), x2.bfloat16())
    torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.05)
    gradients = torch.autograd.grad(found.float().sum(), (x1, x2))
    assert all(gradient.dtype == torch.float32 and gradient.isfinite().all() for gradient in gradients)


def test_macs_count_the_window() -> None:
    shape, pixels = (1, 8, 6, 7), 6 * 7
    projections, window = 2 * 8 * Align.CHANNELS, SIDE**2 * (Align.CHANNELS + 8)
    assert count_macs(Align(8), shape, shape) == pixels * (projections + window)
    assert count_macs(GatedResidual(8), shape, shape) == pixels * 2 * 8 * 8
