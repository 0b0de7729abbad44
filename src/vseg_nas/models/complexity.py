"""Parameters and multiply-accumulate operations, counted without computing anything.

1 MAC = 2 FLOP. Convolutions and bilinear sampling count; norms, activations and resizing do not.
"""

import copy
from typing import Any

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

_BILINEAR_MACS = 4  # per sampled value


def _grid_sampler_flop(input_shape: Any, grid_shape: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    channels = input_shape[1]
    batch, height, width, _ = grid_shape
    return int(2 * _BILINEAR_MACS * batch * channels * height * width)


def count_parameters(module: nn.Module) -> int:
    """All parameters, trainable or not."""
    return sum(p.numel() for p in module.parameters())


def count_macs(module: nn.Module, *shapes: tuple[int, ...]) -> int:
    """MACs of one forward pass in evaluation mode on tensors of ``shapes``; the module is left as it is."""
    ghost = copy.deepcopy(module).to("meta").eval()
    inputs = [torch.empty(shape, device="meta") for shape in shapes]
    mapping = {torch.ops.aten.grid_sampler_2d: _grid_sampler_flop}
    with torch.no_grad(), FlopCounterMode(display=False, custom_mapping=mapping) as counter:
        ghost(*inputs)
    return int(counter.get_total_flops()) // 2
