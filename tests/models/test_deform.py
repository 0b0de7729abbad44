import math

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import deform_conv2d as reference

from vseg_nas.models.deform import _sampled_deform_conv2d, deform_conv2d

CENTRE = torch.zeros(1, 1, 3, 3)
CENTRE[..., 1, 1] = 1


def draw(
    batch: int, height: int, width: int, spread: float, channels: int = 4, dtype: torch.dtype = torch.float64
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(height)
    shapes = ((batch, channels, height, width), (batch, 18, height, width), (batch, 9, height, width))
    x, offset, mask = (torch.randn(shape, generator=generator, dtype=dtype) for shape in shapes)
    weight = torch.randn(5, channels, 3, 3, generator=generator, dtype=dtype)
    inputs = x, offset * spread, mask.sigmoid(), weight
    for tensor in inputs:
        tensor.requires_grad_()
    return inputs


def gradients(out: Tensor, inputs: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
    cotangent = torch.randn(out.shape, generator=torch.Generator().manual_seed(0), dtype=out.dtype)
    return torch.autograd.grad(out, inputs, cotangent.to(out.device))


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 5, 7), (3, 8, 3), (2, 1, 6), (1, 13, 17)])
@pytest.mark.parametrize("spread", [0.3, 2.0, 20.0])
def test_equals_torchvision_in_value_and_all_gradients(batch: int, height: int, width: int, spread: float) -> None:
    inputs = x, offset, mask, weight = draw(batch, height, width, spread)
    out, expected = deform_conv2d(*inputs), reference(x, offset, weight, padding=1, mask=mask)
    torch.testing.assert_close(out, expected)
    for ours, theirs in zip(gradients(out, inputs), gradients(expected, inputs), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_without_offsets_it_is_a_convolution() -> None:
    x, offset, mask, weight = draw(2, 5, 7, 0.0)
    out = deform_conv2d(x, offset, torch.ones_like(mask), weight)
    torch.testing.assert_close(out, F.conv2d(x, weight, padding=1))


def test_offsets_are_y_then_x_in_pixels_and_outside_is_zero() -> None:
    x = torch.arange(1.0, 31.0).view(1, 1, 5, 6)
    offset = torch.tensor([1.0, -2.0]).repeat(9).view(1, 18, 1, 1).expand(1, 18, 5, 6)
    out = deform_conv2d(x, offset, torch.ones(1, 9, 5, 6), CENTRE)
    expected = torch.zeros_like(x)
    expected[..., :-1, 2:] = x[..., 1:, :-2]
    torch.testing.assert_close(out, expected)


def test_each_tap_has_its_own_offset_and_mask() -> None:
    x = torch.arange(1.0, 31.0).view(1, 1, 5, 6)
    for tap in range(9):
        offset, mask = torch.zeros(1, 9, 2, 5, 6), torch.zeros(1, 9, 5, 6)
        row, column = divmod(tap, 3)
        offset[0, tap, 0], offset[0, tap, 1] = 1 - row, 1 - column  # back to the centre
        mask[0, tap] = 0.25
        weight = torch.arange(1.0, 10.0).view(1, 1, 3, 3)
        out = deform_conv2d(x, offset.view(1, 18, 5, 6), mask, weight)
        torch.testing.assert_close(out, 0.25 * (tap + 1) * x)


def test_half_precision_keeps_positions() -> None:
    width = 700  # beyond what bfloat16 can count
    x = torch.arange(width).remainder(7).float().view(1, 1, 1, width)
    offset, mask = torch.zeros(1, 18, 1, width), torch.ones(1, 9, 1, width)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        out = deform_conv2d(x.bfloat16(), offset.bfloat16(), mask.bfloat16(), CENTRE)
    torch.testing.assert_close(out.float(), x, rtol=0, atol=0.03)


def test_the_form_that_is_exported_is_the_same() -> None:
    inputs = draw(2, 13, 17, 2.0)
    out, expected = deform_conv2d(*inputs), _sampled_deform_conv2d(*inputs)
    torch.testing.assert_close(out, expected)
    for ours, theirs in zip(gradients(out, inputs), gradients(expected, inputs), strict=True):
        torch.testing.assert_close(ours, theirs)


@pytest.mark.parametrize("far", [3e9, -3e9, math.inf])
def test_offsets_beyond_all_counting_are_outside(far: float) -> None:
    x, offset, mask, weight = draw(1, 5, 7, 0.3)
    offset = offset.detach()
    offset[0, :, 2, 3] = far
    out = deform_conv2d(x, offset, mask, weight)
    assert out.isfinite().all()
    assert not out[0, :, 2, 3].any()


def test_what_is_no_number_spoils_its_pixel_alone() -> None:
    x, offset, mask, weight = draw(1, 5, 7, 0.3)
    offset = offset.detach()
    offset[0, 4, 2, 3] = math.nan
    out = deform_conv2d(x, offset, mask, weight)
    assert out[0, :, 2, 3].isnan().all()
    assert out.isnan().sum() == out.shape[1]


@pytest.mark.gpu
def test_the_gpu_agrees_with_the_cpu() -> None:
    cpu = draw(2, 13, 17, 2.0)
    gpu = tuple(tensor.detach().cuda().requires_grad_() for tensor in cpu)
    out, expected = deform_conv2d(*gpu), deform_conv2d(*cpu)
    torch.testing.assert_close(out.cpu(), expected)
    for ours, theirs in zip(gradients(out, gpu), gradients(expected, cpu), strict=True):
        torch.testing.assert_close(ours.cpu(), theirs)
