"""Modulated deformable 3x3 convolution (DCNv2): each tap of the kernel has an offset and a weight for every pixel.

    y(p) = sum_k W_k * m_k(p) * x(p + p_k + o_k(p)),    p_k in {-1, 0, 1}^2, m_k = sigmoid(.) in (0, 1)

There are three implementations: torchvision's on CUDA, one for CPUs, and one of common operators for export.

Legend: B clips, C channels, H, W size of the plane.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import deform_conv2d as fused_deform_conv2d

_TAPS = 9


def deform_conv2d(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Computes the same as torchvision's operator with padding 1, and on no device more slowly; x is zero outside.

    Bilinear sampling has a kink at integer positions. There the gradient of ``offset`` is a one-sided slope, and the
    implementations may take different sides.

    Args:
        x: (B, C, H, W) input.
        offset: (B, 18, H, W) offsets in pixels; (y, x) for each of the nine taps, row by row.
        mask: (B, 9, H, W) weights of the taps.
        weight: (C', C, 3, 3) kernels.

    Returns:
        (B, C', H, W) output.
    """
    if x.is_cuda:
        out: Tensor = fused_deform_conv2d(x, offset, weight, padding=1, mask=mask)
        return out
    if x.device.type == "cpu" and not torch.compiler.is_exporting():
        return _gathered_deform_conv2d(x, offset, mask, weight)
    return _sampled_deform_conv2d(x, offset, mask, weight)


def _gathered_deform_conv2d(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Computes each tap as a weighted sum of four rows of a table (B H W, C), and the output by one matrix product.

    On CPUs torchvision's operator is not vectorised. `embedding_bag` is, over the channels.
    """
    batch, channels, height, width = x.shape
    weight = weight.permute(2, 3, 1, 0).reshape(_TAPS * channels, -1)
    # At least float32: half precision is too coarse for positions.
    table = x.permute(0, 2, 3, 1).reshape(-1, channels)
    table = table.to(torch.promote_types(offset.dtype, torch.float32))
    pixels, shares = _corners(offset, mask)
    taps = F.embedding_bag(pixels, table, mode="sum", per_sample_weights=shares.to(table.dtype))
    out = taps.view(-1, _TAPS * channels).to(weight.dtype) @ weight
    return out.view(batch, height, width, -1).permute(0, 3, 1, 2)


def _corners(offset: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
    """Returns the four pixels around each tap and their weights, (B H W 9, 4) each; weights are 0 outside the image."""
    batch, _, height, width = mask.shape
    dy, dx = offset.view(batch, _TAPS, 2, height, width).permute(2, 0, 3, 4, 1)
    taps = torch.arange(_TAPS, device=mask.device)
    rows = torch.arange(height, device=mask.device)[:, None, None] + taps // 3 - 1
    columns = torch.arange(width, device=mask.device)[:, None] + taps % 3 - 1
    y, y_share = _neighbours(dy.contiguous() + rows.to(torch.float32), height)
    x, x_share = _neighbours(dx.contiguous() + columns.to(torch.float32), width)
    first = height * torch.arange(batch, dtype=torch.int32, device=mask.device)
    # The four pixels are all pairs of the two rows and the two columns; their weights are products.
    pixels = (y + first[:, None, None, None])[:, None] * width + x
    shares = (y_share * mask.permute(0, 2, 3, 1))[:, None] * x_share
    return pixels.view(4, -1).t().contiguous(), shares.view(4, -1).t().contiguous()


def _neighbours(position: Tensor, size: int) -> tuple[Tensor, Tensor]:
    """Returns the integer positions below and above each position, and their weights, which are 0 outside."""
    position = position.clamp(-2, size + 1)  # weights are 0 beyond that anyway, and int32 cannot hold every float
    below = position.detach().floor()
    above_share = position - below
    pair = torch.stack((below, below + 1)).to(torch.int32)
    shares = torch.stack((1 - above_share, above_share)) * ((pair >= 0) & (pair < size))
    return pair.clamp(0, size - 1), shares


def _sampled_deform_conv2d(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Samples the taps of pixel (h, w) as the 3x3 tile at (3h, 3w) of a larger map, and convolves it with stride 3.

    All its operators exist in the formats of `export` and on every device.
    """
    batch, _, height, width = x.shape
    # At least float32: half precision is too coarse for positions.
    rows, columns = (_tap_positions(size, x.device) for size in (height, width))
    dy, dx = _tile(offset.view(batch, _TAPS, 2, height, width).transpose(1, 2)).unbind(1)
    # `grid_sample` expects the centre of pixel i at (2 i + 1) / size - 1.
    grid = torch.stack(((2 * (dx + columns) + 1) / width - 1, (2 * (dy + rows[:, None]) + 1) / height - 1), -1)
    sampled = F.grid_sample(x.to(grid.dtype), grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    tiles = sampled * _tile(mask.unsqueeze(1))
    return F.conv2d(tiles.to(weight.dtype), weight, stride=3)


def _tap_positions(size: int, device: torch.device) -> Tensor:
    """Returns the positions (3 size,) of taps without offsets: 0 - 1, 0, 0 + 1, 1 - 1, 1, 1 + 1, ..."""
    steps = torch.arange(3 * size, device=device)
    return (steps // 3 + steps % 3 - 1).to(torch.float32)


def _tile(taps: Tensor) -> Tensor:
    """Rearranges the nine values of each pixel, (B, n, 9, H, W), to 3x3 tiles, (B, n, 3H, 3W)."""
    batch, n, _, height, width = taps.shape
    tiles = taps.view(batch, n, 3, 3, height, width).permute(0, 1, 4, 2, 5, 3)
    return tiles.reshape(batch, n, 3 * height, 3 * width)


class DeformConv(nn.Module):
    """Deformable 3x3 convolution, batch norm, ReLU (Table 1, operation 5).

    One 3x3 convolution of x predicts offsets and masks. It starts at zero, so at first the taps have no offsets and
    weights of 1/2: training begins with an ordinary convolution.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.offset_mask = nn.Conv2d(channels, 3 * _TAPS, 3, padding=1)
        nn.init.zeros_(self.offset_mask.weight)
        nn.init.zeros_(self.offset_mask.bias)  # type: ignore[arg-type]
        self.conv = nn.Conv2d(channels, channels, 3, padding=1, bias=False)  # holds the weight and its initialisation
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, C, H, W)."""
        offset, mask = self.offset_mask(x).split((2 * _TAPS, _TAPS), 1)
        return F.relu(self.norm(deform_conv2d(x, offset, mask.sigmoid(), self.conv.weight)))
