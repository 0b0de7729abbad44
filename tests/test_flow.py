from typing import Any, Literal

import cv2
import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from vseg_nas.data import transforms
from vseg_nas.flow import dis_flow, inside, resize_flow, shrink_flow, warp

Mode = Literal["bilinear", "nearest"]
MODES: tuple[Mode, ...] = ("bilinear", "nearest")
Grey = NDArray[np.uint8]


def texture(height: int, width: int, seed: int = 0) -> Grey:
    noise = np.random.default_rng(seed).random((height, width)).astype(np.float32)
    smooth = np.asarray(cv2.GaussianBlur(noise, (0, 0), 2))
    return np.asarray((smooth - smooth.min()) / np.ptp(smooth) * 255, np.uint8)


def shifted(dx: int, dy: int, height: int = 60, width: int = 84, seed: int = 0) -> tuple[Grey, Grey]:
    """Two views of one texture: what is at (x, y) of the first is at (x + dx, y + dy) of the second."""
    scene = texture(height + 32, width + 32, seed)
    return scene[16 + dy :, 16 + dx :][:height, :width], scene[16:, 16:][:height, :width]


def frame(red: Grey, green: Grey, blue: Grey) -> Tensor:
    return transforms.normalise(np.stack([red, green, blue], axis=-1)[None])


def grey_frame(grey: Grey) -> Tensor:
    return frame(grey, grey, grey)


def constant(dx: float, dy: float, height: int, width: int) -> Tensor:
    return torch.tensor([dx, dy], dtype=torch.float32).view(1, 2, 1, 1).expand(1, 2, height, width)


def numbered(height: int, width: int, channels: int = 2) -> Tensor:
    """A map whose values are all different."""
    return torch.arange(channels * height * width, dtype=torch.float32).view(1, channels, height, width)


@pytest.mark.parametrize("size", [(60, 84), (61, 83), (16, 200), (200, 16)])
@pytest.mark.parametrize(("dx", "dy"), [(0, 0), (4, 0), (0, -3), (-2, 3)])
def test_dis_finds_a_shift(dx: int, dy: int, size: tuple[int, int]) -> None:
    current, previous = shifted(dx, dy, *size)
    flow = dis_flow(grey_frame(current), grey_frame(previous))
    assert flow.shape == (1, 2, *size)
    assert flow.dtype == torch.float32
    assert flow.flatten(2).median(2).values[0].tolist() == pytest.approx([dx, dy], abs=0.25)


def test_dis_sees_the_grey_picture_of_opencv() -> None:
    current, previous = shifted(3, 2)
    search: Any = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
    expected = search.calc(np.ascontiguousarray(current), np.ascontiguousarray(previous), None)
    flow = dis_flow(grey_frame(current), grey_frame(previous))
    assert torch.equal(flow[0].permute(1, 2, 0), torch.as_tensor(expected))


@pytest.mark.parametrize(("stronger", "weaker"), [(1, 0), (0, 2), (1, 2)])
def test_green_outshines_red_and_red_blue(stronger: int, weaker: int) -> None:
    """Two colours move against each other; the brighter to the eye leads."""
    flat = np.full((60, 84), 128, np.uint8)
    current, previous = [flat] * 3, [flat] * 3
    current[stronger], previous[stronger] = shifted(3, 0, seed=1)
    current[weaker], previous[weaker] = shifted(-3, 0, seed=2)
    flow = dis_flow(frame(*current), frame(*previous))
    assert flow[0, 0].median() > 1.5


def test_dis_is_a_function_of_each_pair() -> None:
    pairs = [shifted(3, 1, seed=1), shifted(-4, 2, seed=2)]
    current, previous = (torch.cat([grey_frame(pair[i]) for pair in pairs]) for i in (0, 1))
    together = dis_flow(current, previous)
    threads = cv2.getNumThreads()
    try:
        for count in (1, 2):
            cv2.setNumThreads(count)
            alone = torch.cat([dis_flow(current[i : i + 1], previous[i : i + 1]) for i in (1, 0)]).flip(0)
            assert torch.equal(together, alone)
    finally:
        cv2.setNumThreads(threads)


@pytest.mark.parametrize(("now", "before"), [((1, 3, 15, 64), (1, 3, 15, 64)), ((1, 3, 32, 32), (1, 3, 32, 40))])
def test_frames_without_flow_are_refused(now: tuple[int, ...], before: tuple[int, ...]) -> None:
    with pytest.raises(ValueError, match="expected equal shapes, 16 pixels"):
        dis_flow(torch.zeros(now), torch.zeros(before))


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(7, 9), (8, 10), (1, 5), (45, 61), (33, 1)])
def test_zero_flow_changes_nothing(size: tuple[int, int], mode: Mode) -> None:
    previous = torch.randn(2, 3, *size, generator=torch.Generator().manual_seed(0)) * 1e3
    for flow_size in (size, (size[0] * 3, size[1] * 2)):
        assert torch.equal(warp(previous, resize_flow(torch.zeros(2, 2, *flow_size), previous), mode), previous)


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize(("dx", "dy"), [(2, 0), (0, 3), (-1, 2), (-3, -2)])
def test_whole_pixels_are_slices(dx: int, dy: int, mode: Mode) -> None:
    previous = numbered(9, 11)
    rows, columns = slice(max(-dy, 0), 9 - max(dy, 0)), slice(max(-dx, 0), 11 - max(dx, 0))
    moved = warp(previous, constant(dx, dy, 9, 11), mode)
    assert torch.equal(moved[..., rows, columns], torch.roll(previous, (-dy, -dx), (2, 3))[..., rows, columns])
    expected = torch.zeros(9, 11, dtype=torch.bool)
    expected[rows, columns] = True
    assert torch.equal(inside(constant(dx, dy, 9, 11)), expected[None])


def at(values: NDArray[Any], x: float, y: float, mode: Mode) -> Any:
    """The value of (H, W) at a point, the border going on for ever."""
    height, width = values.shape
    if mode == "nearest":
        return values[int(np.clip(np.floor(y + 0.5), 0, height - 1)), int(np.clip(np.floor(x + 0.5), 0, width - 1))]
    total = 0.0
    for row in range(height):
        for column in range(width):
            near = max(0, 1 - abs(np.clip(y, 0, height - 1) - row)) * max(0, 1 - abs(np.clip(x, 0, width - 1) - column))
            total += near * values[row, column]
    return total


@pytest.mark.parametrize("mode", MODES)
def test_like_numpy_inside_and_out(mode: Mode) -> None:
    rng = np.random.default_rng(0)
    previous, flow = rng.normal(size=(2, 2, 5, 7)), rng.normal(scale=3, size=(2, 2, 5, 7)).astype(np.float32)
    moved, within = warp(torch.tensor(previous), torch.tensor(flow), mode), inside(torch.tensor(flow))
    for b, y, x in np.ndindex(2, 5, 7):
        u, v = x + float(flow[b, 0, y, x]), y + float(flow[b, 1, y, x])
        assert moved[b, :, y, x].tolist() == pytest.approx([at(previous[b, c], u, v, mode) for c in (0, 1)], abs=1e-5)
        assert within[b, y, x] == (-0.5 <= u < 6.5 and -0.5 <= v < 4.5)
    assert 0 < within.sum() < within.numel()


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int64, torch.bool, torch.float16])
def test_nearest_keeps_every_type(dtype: torch.dtype) -> None:
    previous = torch.tensor([[[[0, 1, 1, 0]]]]).to(dtype)
    moved = warp(previous, constant(1, 0, 1, 4), "nearest")
    assert moved.dtype == dtype
    assert moved.tolist() == torch.tensor([[[[1, 1, 0, 0]]]]).to(dtype).tolist()


def test_half_a_pixel() -> None:
    previous = torch.tensor([[[[0.0, 1, 2, 3, 4]]]])
    assert warp(previous, constant(0.5, 0, 1, 5)).flatten().tolist() == [0.5, 1.5, 2.5, 3.5, 4]
    assert warp(previous, constant(0.5, 0, 1, 5), "nearest").flatten().tolist() == [1, 2, 3, 4, 4]


@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("size", [(24, 40), (6, 5)])
def test_flow_of_another_size_is_scaled(size: tuple[int, int], mode: Mode) -> None:
    """Two pixels to the right and three up on a map of 12 by 10, told in the pixels of the flow."""
    height, width = size
    previous = numbered(12, 10)
    flow = constant(2 * width / 10, -3 * height / 12, height, width)
    moved = warp(previous, resize_flow(flow, previous), mode)
    torch.testing.assert_close(moved[..., 3:, :8], previous[..., :9, 2:], atol=1e-3, rtol=1e-5)
    torch.testing.assert_close(resize_flow(flow, previous), constant(2, -3, 12, 10))


def test_coarse_flow_is_an_average() -> None:
    """One wild vector among 64 moves no coarse pixel."""
    flow = torch.zeros(1, 2, 16, 16)
    flow[0, :, 3, 3] = 64
    previous = numbered(2, 2)
    assert torch.equal(warp(previous, shrink_flow(flow, 8), "nearest"), previous)


def test_half_precision_flow_reaches_far_columns() -> None:
    previous = numbered(1, 3000, channels=1)
    moved = warp(previous, constant(-0.5, 0, 1, 3000).half())
    torch.testing.assert_close(moved[..., 1:], previous[..., 1:] - 0.5, atol=0, rtol=0)


def test_gradients_reach_the_past() -> None:
    """Fits propagate through warped maps of the previous frame: each pixel gets the weights it was read with."""
    previous = numbered(1, 4, channels=1).requires_grad_()
    (gradient,) = torch.autograd.grad(warp(previous, constant(0.25, 0, 1, 4)).sum(), previous)
    assert gradient.flatten().tolist() == [0.75, 1, 1, 1.25]


def test_flow_brings_the_past_to_the_present() -> None:
    current, previous = (grey_frame(view) for view in shifted(5, -4))
    moved = warp(previous, dis_flow(current, previous))
    inner = (..., slice(10, -10), slice(10, -10))
    assert (moved - current)[inner].abs().mean() < 0.1 * (previous - current)[inner].abs().mean()
