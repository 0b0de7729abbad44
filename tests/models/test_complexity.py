import copy
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from vseg_nas.models.cell import DynamicCell
from vseg_nas.models.complexity import count_macs, count_parameters
from vseg_nas.models.deform import DeformConv
from vseg_nas.models.operations import DilatedDepthwise
from vseg_nas.nas.strategies.random import RandomSearch
from vseg_nas.space import SearchSpace


class Sampler(nn.Module):
    def forward(self, x: Tensor, grid: Tensor) -> Tensor:
        return F.grid_sample(x, grid, align_corners=False)


@pytest.mark.parametrize(
    ("module", "shape", "macs"),
    [
        (nn.Conv2d(3, 8, 3, padding=1), (2, 3, 10, 12), 2 * 10 * 12 * 8 * 3 * 9),
        (nn.Conv2d(4, 6, 1, stride=2, bias=False), (1, 4, 9, 9), 5 * 5 * 6 * 4),
        (nn.Conv2d(8, 8, 5, padding=12, dilation=6, groups=8), (1, 8, 10, 12), 10 * 12 * 8 * 25),
        (nn.Linear(7, 5), (3, 7), 3 * 7 * 5),
        (nn.Sequential(nn.BatchNorm2d(4), nn.ReLU(), nn.Upsample(scale_factor=2)), (1, 4, 6, 6), 0),
        # predicts 27 values a pixel, samples nine taps of four neighbours each, convolves
        (DeformConv(16), (1, 16, 6, 7), 6 * 7 * (16 * 27 * 9 + 9 * 16 * 4 + 16 * 16 * 9)),
    ],
)
def test_closed_forms(module: nn.Module, shape: tuple[int, ...], macs: int) -> None:
    assert count_macs(module, shape) == macs


def test_counts_are_the_same_in_inference_mode() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.Flatten(), nn.Linear(32, 5))
    with torch.inference_mode():
        assert count_macs(module, (1, 3, 4, 4)) == 2 * 2 * 8 * 27 + 32 * 5


def test_bilinear_sampling_costs_four_products_a_value() -> None:
    assert count_macs(Sampler(), (2, 5, 8, 9), (2, 3, 4, 2)) == 2 * 5 * 3 * 4 * 4


def test_parameters_count_whether_they_train_or_not() -> None:
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8))
    module[0].requires_grad_(False)
    assert count_parameters(module) == 3 * 8 * 9 + 8 + 2 * 8


def test_counting_changes_nothing() -> None:
    torch.manual_seed(0)
    module = nn.Sequential(nn.Conv2d(3, 8, 3), nn.BatchNorm2d(8)).train()
    module(torch.randn(2, 3, 8, 8)).sum().backward()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    gradient = module[0].weight.grad
    assert count_macs(module, (1, 3, 8, 8)) > 0
    assert module.training
    assert module[0].weight.grad is gradient
    assert module[0].weight.device.type == "cpu"
    after = module.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())


def plain_count(module: nn.Module, *shapes: tuple[int, ...]) -> int:
    """Torch's own counter, on real numbers; bilinear sampling is eight FLOP a value: four pixels, weighed and added."""

    def sampling(x: tuple[int, ...], grid: tuple[int, ...], *args: object, out_shape: object = None) -> int:
        return 8 * grid[0] * x[1] * grid[1] * grid[2]

    def bag(table: tuple[int, ...], pixels: tuple[int, ...], *args: object, **kwargs: object) -> int:
        return 2 * pixels[0] * table[1]

    operators: dict[Any, Any] = {
        torch.ops.aten.grid_sampler_2d: sampling,
        torch.ops.aten._embedding_bag_forward_only: bag,
    }
    counter = FlopCounterMode(display=False, custom_mapping=operators)
    with torch.no_grad(), counter:
        copy.deepcopy(module).eval()(*map(torch.zeros, shapes))
    return counter.get_total_flops() // 2


def test_equals_torchs_counter_on_random_cells(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(DilatedDepthwise, "forward", nn.Conv2d.forward)  # the fast form pads, the count does not
    shapes = [(1, 320, 3, 4), (1, 64, 11, 14), (1, 32, 11, 14), (1, 96, 6, 7), (1, 320, 3, 4)]
    for genotype in RandomSearch(SearchSpace(5, 16), seed=0).ask(12):
        cell = DynamicCell(genotype)
        assert count_macs(cell, *shapes) == plain_count(cell, *shapes) > 0
