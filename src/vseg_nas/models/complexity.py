"""Parameters and multiply-accumulate operations, counted without computing anything.

1 MAC = 2 FLOP. Convolutions and bilinear sampling count; norms, activations and resizing do not.
"""

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import FlopCounterMode

_BILINEAR_MACS = 4  # per sampled value


def _grid_sampler_flop(input_shape: Any, grid_shape: Any, *args: Any, out_shape: Any = None, **kwargs: Any) -> int:
    channels = input_shape[1]
    batch, height, width, _ = grid_shape
    return int(2 * _BILINEAR_MACS * batch * channels * height * width)


def _resized(x: Tensor, size: list[int], *args: Any) -> Tensor:
    return x.new_empty((*x.shape[:2], *size))


def _sampled(x: Tensor, grid: Tensor, *args: Any) -> Tensor:
    return x.new_empty((*x.shape[:2], *grid.shape[1:3]))


def _normed(x: Tensor, *args: Any) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), x.new_empty(0), x.new_empty(0)


_SHAPES: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.upsample_bilinear2d.vec: _resized,
    torch.ops.aten.upsample_bilinear2d.default: _resized,
    torch.ops.aten.grid_sampler_2d.default: _sampled,
    torch.ops.aten._native_batch_norm_legit_no_training.default: _normed,
}


class _KnownShapes(TorchDispatchMode):  # type: ignore[no-untyped-call]  # its base has an untyped hook
    """Gives the shapes of some operators at once; torch goes through dozens of others to find them out."""

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return _SHAPES.get(func, func)(*args, **(kwargs or {}))


def count_parameters(module: nn.Module) -> int:
    """All parameters, trainable or not."""
    return sum(p.numel() for p in module.parameters())


def count_macs(module: nn.Module, *shapes: tuple[int, ...]) -> int:
    """MACs of one forward pass in evaluation mode on tensors of ``shapes``; the module is left as it is."""
    modes = {part: part.training for part in module.modules()}
    tensors = {
        name: torch.empty_like(value, device="meta")
        for name, value in itertools.chain(module.named_parameters(), module.named_buffers())
    }
    inputs = tuple(torch.empty(shape, device="meta") for shape in shapes)
    mapping = {torch.ops.aten.grid_sampler_2d: _grid_sampler_flop}
    shapes_only = _KnownShapes()  # type: ignore[no-untyped-call]
    module.eval()
    try:
        with torch.no_grad(), shapes_only, FlopCounterMode(display=False, custom_mapping=mapping) as counter:
            functional_call(module, tensors, inputs)
    finally:
        for part, training in modes.items():
            part.training = training
    return int(counter.get_total_flops()) // 2
