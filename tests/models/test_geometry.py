"""What lies at a place of the frame stays there on every plane, whatever the size of the frame.

Sizes run through all remainders by 32. References are in NumPy, by `numpy.interp`, which knows nothing of torch's,
OpenCV's or ONNX's conventions.
"""

from __future__ import annotations

import functools
from itertools import product
from typing import Any, cast

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional

from vseg_nas.flow import shrink_flow
from vseg_nas.models import propagation
from vseg_nas.models.cell import DynamicCell
from vseg_nas.models.inference import optimized
from vseg_nas.models.layers import GlobalAveragePool, enlarge, enlarge_to_finest, label_map, stride_of
from vseg_nas.models.propagation import CellPropagation, CopyPrevious, WarpPrevious
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.models.video_segmenter import VideoSegmenter
from vseg_nas.space import Genotype
from vseg_nas.space.genotype import Layer
from vseg_nas.space.vocabulary import AGGREGATIONS, OPERATIONS
from vseg_nas.training.losses import segmentation_loss, shrink_masks
from vseg_nas.video.predictor import likeliest

SIDES = range(33, 98)
SIZES = tuple((side, 130 - side) for side in SIDES)
ALIGNED = ((32, 64), (64, 96), (96, 32))
FRAMES = torch.randn(4, 3, 64, 96, generator=torch.Generator().manual_seed(1))
Plane = NDArray[Any]


def cells(side: int, stride: int) -> int:
    """Rounded up twice for each factor of two, as strided convolutions of kernel 3 and padding 1 do it."""
    while stride > 1:
        side, stride = (side + 1) // 2, stride // 2
    return side


def along(values: Plane, pixels_a_cell: float, count: int) -> Plane:
    """Values of cells (n, ...) at ``count`` pixels: cell i reaches from i to i + 1, its value is at its middle."""
    where = (np.arange(count) + 0.5) / pixels_a_cell - 0.5
    flat = values.reshape(len(values), -1)
    columns = [np.interp(where, np.arange(len(values)), column) for column in flat.T]
    return np.stack(columns, 1).reshape(count, *values.shape[1:])


def enlarged(planes: Tensor, pixels_a_cell: tuple[float, float], size: tuple[int, int]) -> Plane:
    """(..., h, w) -> (..., H, W)."""
    down, across = pixels_a_cell
    rows = along(np.moveaxis(planes.double().numpy(), -2, 0), down, size[0])
    both = along(np.moveaxis(rows, -1, 0), across, size[1])
    return np.moveaxis(both, (0, 1), (-1, -2))


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize(("coarse", "fine"), [(8, 1), (16, 8), (32, 8), (32, 16)])
def test_a_plane_is_enlarged_by_its_stride(coarse: int, fine: int) -> None:
    ratio = coarse // fine
    for size in (*SIZES, (1, 1), (7, 9), (32, 33), (769, 41)):
        plane, target = (tuple(cells(side, stride) for side in size) for stride in (coarse, fine))
        x = noise(2, 3, *plane)
        found = enlarge(x, ratio, (target[0], target[1]))
        assert found.shape == (2, 3, *target)
        np.testing.assert_allclose(found.numpy(), enlarged(x, (ratio, ratio), (target[0], target[1])), atol=2e-6)


@pytest.mark.parametrize("memory", [torch.contiguous_format, torch.channels_last])
def test_where_32_divides_the_sides_nothing_has_changed(memory: torch.memory_format) -> None:
    for size, (coarse, fine) in product(ALIGNED, [(8, 1), (16, 8), (32, 8), (32, 16)]):
        x = noise(2, 6, *(side // coarse for side in size)).contiguous(memory_format=memory)
        target = size[0] // fine, size[1] // fine
        stretched = functional.interpolate(x, target, mode="bilinear", align_corners=False)
        assert torch.equal(enlarge(x, coarse // fine, target), stretched)
    for size in ALIGNED:
        masks, flow = torch.randint(9, (2, *size)), noise(2, 2, *size)
        pred = noise(2, 9, size[0] // 8, size[1] // 8)
        small = functional.interpolate(masks[:, None].float(), pred.shape[-2:], mode="nearest-exact")[:, 0].long()
        assert torch.equal(shrink_masks(masks, 8), small)
        shrunk = functional.interpolate(flow, pred.shape[-2:], mode="bilinear", antialias=True) / 8
        assert torch.equal(shrink_flow(flow, 8), shrunk)
        for labels in (size, (2 * size[0], 2 * size[1]), (100, 131)):
            full = functional.interpolate(pred, labels, mode="bilinear", align_corners=False)
            assert torch.equal(label_map(pred, size, labels), full.argmax(1))


def test_planes_meet_at_the_finest() -> None:
    for size in SIZES:
        planes = [noise(1, 2, *(cells(side, stride) for side in size)) for stride in (32, 8, 16)]
        found = enlarge_to_finest(planes, (32, 8, 16))
        assert found[1] is planes[1]
        assert all(plane.shape == planes[1].shape for plane in found)
        target = planes[1].shape[-2], planes[1].shape[-1]
        np.testing.assert_allclose(found[0].numpy(), enlarged(planes[0], (4, 4), target), atol=2e-6)
        np.testing.assert_allclose(found[2].numpy(), enlarged(planes[2], (2, 2), target), atol=2e-6)


@pytest.mark.parametrize("form", ["torch", "OpenCV"])
def test_labels_of_every_size(form: str) -> None:
    """A frame may be stretched to its labels, which a plane that reaches beyond the frame must not be."""
    wrong = total = 0
    for frame in (*SIZES, (41, 181), (180, 240)):
        pred = noise(1, 4, *(cells(side, 8) for side in frame))
        sizes = [frame, (2 * frame[0], 2 * frame[1]), (100, 131), (frame[0] // 2, 3 * frame[1])]
        for size in sizes if frame[0] % 8 < 3 else sizes[:1]:
            scale = 8 * size[0] / frame[0], 8 * size[1] / frame[1]
            expected = enlarged(pred[0], scale, size).argmax(0)
            found = (
                label_map(pred, frame, size)[0].numpy() if form == "torch" else likeliest(pred[0].numpy(), frame, size)
            )
            assert found.shape == size
            wrong, total = wrong + int((found != expected).sum()), total + expected.size
    assert wrong <= 1e-5 * total  # ties


def test_large_ratios_cost_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """181 and 540 have no common factor, so that only 1080 cells cover whole pixels: no more is made than is kept."""
    import cv2

    resize, largest = cv2.resize, 0

    def watched(*args: Any, **options: Any) -> Plane:
        nonlocal largest
        found: Plane = resize(*args, **options)
        largest = max(largest, found.size)
        return found

    monkeypatch.setattr(cv2, "resize", watched)
    pred = noise(3, 23, 31).numpy()
    assert likeliest(pred, (181, 241), (270, 361)).shape == (270, 361)
    assert 270 * 361 < largest <= 1.1 * 270 * 361


def test_logits_of_other_frames_are_refused() -> None:
    assert stride_of(noise(1, 2, 5, 17), (33, 130)) == 8
    assert stride_of(noise(1, 2, 33, 130), (33, 130)) == 1
    for plane in ((4, 17), (5, 16), (9, 33)):
        with pytest.raises(ValueError, match=r"expected that of frames of \(33, 130\)"):
            label_map(noise(1, 2, *plane), (33, 130))


@pytest.mark.parametrize("ratio", [8, 16, 32])
def test_masks_shrink_by_centres(ratio: int) -> None:
    for height, width in (*SIZES, (1, 3), (8, 8)):
        masks = torch.arange(height * width).view(1, height, width)
        found = shrink_masks(masks, ratio)
        rows = [min(ratio * i + ratio // 2, height - 1) for i in range(cells(height, ratio))]
        columns = [min(ratio * i + ratio // 2, width - 1) for i in range(cells(width, ratio))]
        assert found.tolist() == [[[row * width + column for column in columns] for row in rows]]


def test_the_loss_is_taken_where_the_pixels_are() -> None:
    for size in ((33, 97), (50, 80), (61, 45)):
        pred, masks = noise(2, 3, *(cells(side, 8) for side in size)), torch.randint(3, (2, *size))
        masks[:, :4] = 255
        logits = np.moveaxis(enlarged(pred, (8, 8), size), 1, -1)
        log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
        kept = masks.numpy() != 255
        expected = -np.take_along_axis(log_p[kept], masks.numpy()[kept][:, None], 1).mean()
        assert segmentation_loss(pred, masks).item() == pytest.approx(expected, rel=1e-5)
    with pytest.raises(ValueError, match="expected that of frames"):
        segmentation_loss(noise(1, 3, 6, 6), torch.zeros(1, 33, 48, dtype=torch.int64))


@pytest.mark.parametrize("ratio", [4, 8, 32])
def test_flow_shrinks_by_its_stride(ratio: int) -> None:
    for height, width in SIZES:
        across, down = torch.meshgrid(torch.arange(width), torch.arange(height), indexing="xy")
        flow = torch.stack((across, down))[None].float()
        found = shrink_flow(flow, ratio)
        assert found.shape == (1, 2, cells(height, ratio), cells(width, ratio))
        middles = [torch.arange(n) * ratio + (ratio - 1) / 2 for n in (found.shape[-1], found.shape[-2])]
        inner = [slice(1, side // ratio - 1) for side in (height, width)]  # whose filter ends within the flow
        torch.testing.assert_close(
            found[0, 0][inner[0], inner[1]], (middles[0] / ratio).expand_as(found[0, 0])[inner[0], inner[1]]
        )
        torch.testing.assert_close(
            found[0, 1][inner[0], inner[1]], (middles[1][:, None] / ratio).expand_as(found[0, 1])[inner[0], inner[1]]
        )
        same = shrink_flow(torch.full((1, 2, height, width), 3.0), ratio)
        torch.testing.assert_close(same, torch.full_like(same, 3 / ratio))


def pointwise(network: nn.Module, *inputs: Tensor) -> nn.Module:
    """Of kernels the middle is left, pools over the plane give constants: every value depends on one place alone.

    So it tells exactly where planes are put. Statistics are made to fit the weights.
    """
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
            nn.init.normal_(module.bias, 0, 0.2)
        if isinstance(module, nn.Conv2d) and module.kernel_size[0] > 1:
            middle = module.kernel_size[0] // 2
            kept = module.weight.detach()[:, :, middle, middle].clone() * module.kernel_size[0]
            module.weight.data.zero_()
            module.weight.data[:, :, middle, middle] = kept
        if isinstance(module, GlobalAveragePool):
            module.conv.weight.data.zero_()
    with torch.no_grad():
        network.train()(*inputs)
    return network.eval()


@functools.cache
def static_network() -> StaticSegmenter:
    torch.manual_seed(0)
    return cast(StaticSegmenter, pointwise(StaticSegmenter(("a", "b", "c", "d"), auxiliary=False), FRAMES))


def build(genotype: Genotype, flow: bool = False) -> VideoSegmenter:
    torch.manual_seed(1)
    static = static_network()
    with torch.no_grad():
        key = static(FRAMES)
    cell = pointwise(DynamicCell(genotype), key.encoder.layer4, key.dec, *key.encoder[1:])
    return VideoSegmenter(static, CellPropagation(cast(DynamicCell, cell), static.decoder.classifier, flow=flow)).eval()


def shifted(frames: Tensor) -> Tensor:
    """32 pixels down and to the right; the border goes on, so that a value beyond it is the one at it."""
    return functional.pad(frames, (32, 0, 32, 0), "replicate")


def assert_shifts_along(
    segmenter: VideoSegmenter, sizes: tuple[tuple[int, int], ...], frames: int = 2, border: int = 0
) -> None:
    """Compares all but so many cells of 1/8 at the top and at the left."""
    for size in sizes:
        clip = noise(frames, 3, *size)
        with torch.no_grad():
            pairs = zip(segmenter(clip[None]), segmenter(shifted(clip)[None]), strict=True)
        for state, other in pairs:
            cell = 8 if state.pred.shape[-2] == size[0] else 1
            left_out, moved = border * cell, (border + 4) * cell
            scale = state.pred.abs().max()
            assert state.pred.std((-1, -2)).max() > 0.01 * scale  # it does see the frame
            difference = other.pred[..., moved:, moved:] - state.pred[..., left_out:, left_out:]
            assert difference.numel()
            # What float32 rounds; stretched planes differ by a seventh of the scale and more.
            assert difference.abs().max() <= 1e-4 * scale
        here = [segmenter.reset().step(clip[0]), segmenter.step(clip[1])]
        there = [segmenter.reset().step(shifted(clip)[0]), segmenter.step(shifted(clip)[1])]
        for labels, moved_labels in zip(here, there, strict=True):
            assert labels.shape == size
            same = moved_labels[32:, 32:] == labels
            assert same[8 * border :, 8 * border :].float().mean() >= 0.999  # ties


ALL_PLANES = Genotype(
    (Layer(0, 1, 4, 4, 0), Layer(3, 2, 0, 2, 1), Layer(4, 3, 4, 3, 5), Layer(0, 4, 4, 5, 0), Layer(7, 5, 4, 0, 1))
)


def test_networks_shift_along_with_their_frames() -> None:
    segmenter = build(ALL_PLANES)
    assert_shifts_along(segmenter, SIZES[1::3])
    assert_shifts_along(optimized(segmenter), SIZES[2::9])


SOME = [name for name in AGGREGATIONS if name not in ("affine_bilinear", "predictive")]  # which look elsewhere
PAIRS = list(zip([name for name in OPERATIONS if name != "global_avg_pool"], (*SOME, *SOME), strict=False))


@pytest.mark.parametrize(("op", "aggregation"), PAIRS)
def test_operations_and_aggregations_shift_along(op: str, aggregation: str) -> None:
    """Layer 4 with dec, layer 3 with layer 4; what is not read goes up to 1/8."""
    one, agg = OPERATIONS.index(op), AGGREGATIONS.index(aggregation)
    genotype = Genotype((Layer(0, 1, one, one, agg), Layer(3, 4, one, 4, agg)))
    assert_shifts_along(build(genotype), (SIZES[7 * one], (90, 43)))


@pytest.mark.parametrize("coarsest", [3, 4])
def test_a_cell_that_ends_on_a_coarse_plane(coarsest: int) -> None:
    assert_shifts_along(build(Genotype((Layer(coarsest, 4, 4, 4, 0),))), SIZES[1::20])


def test_what_is_warped_shifts_along(monkeypatch: pytest.MonkeyPatch) -> None:
    """By 16 pixels to the right and 8 up, whole cells of 1/8 and half of 1/32."""

    def steady(current: Tensor, previous: Tensor) -> Tensor:
        return torch.tensor([16.0, -8.0])[:, None, None].expand(1, 2, *current.shape[-2:]).contiguous()

    monkeypatch.setattr(propagation, "dis_flow", steady)
    segmenter = build(Genotype((Layer(0, 1, 4, 4, 0), Layer(3, 1, 4, 4, 0))), flow=True)
    assert_shifts_along(segmenter, SIZES[1::9], 3, border=4)
    assert_shifts_along(VideoSegmenter(static_network(), WarpPrevious()), SIZES[1::9], 3, border=4)
    assert_shifts_along(VideoSegmenter(static_network(), CopyPrevious()), SIZES[1::32])
