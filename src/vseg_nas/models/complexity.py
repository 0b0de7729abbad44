"""Counts of parameters and of multiply-accumulate operations (MACs), without computing anything.

1 MAC = 2 FLOP. Convolutions, matrix products, bilinear sampling and window attention count; norms, activations and
resizing do not.
"""

import itertools
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from vseg_nas.models.aggregations import Align

_BILINEAR_FLOP = 8  # per sampled value: four products and four additions


def _sampling_flop(*args: Any, out_val: Tensor) -> int:
    return _BILINEAR_FLOP * out_val.numel()


def _resized(x: Tensor, size: list[int], *args: Any) -> Tensor:
    return x.new_empty((*x.shape[:2], *size))


def _sampled(x: Tensor, grid: Tensor, *args: Any) -> Tensor:
    return x.new_empty((*x.shape[:2], *grid.shape[1:3]))


def _normed(x: Tensor, *args: Any) -> tuple[Tensor, Tensor, Tensor]:
    return torch.empty_like(x), x.new_empty(0), x.new_empty(0)


def _broadcast(*args: Any, **kwargs: Any) -> Tensor:
    tensors = [arg for arg in args if isinstance(arg, Tensor)]
    shape = torch.broadcast_shapes(*(tensor.shape for tensor in tensors))  # type: ignore[no-untyped-call]
    return tensors[0].new_empty(shape)


_SHAPES: dict[Any, Callable[..., Any]] = {
    torch.ops.aten.upsample_bilinear2d.vec: _resized,
    torch.ops.aten.upsample_bilinear2d.default: _resized,
    torch.ops.aten.grid_sampler_2d.default: _sampled,
    torch.ops.aten.native_batch_norm.default: _normed,
    **{getattr(torch.ops.aten, name).Tensor: _broadcast for name in ("add", "sub", "mul", "div")},
    **{getattr(torch.ops.aten, name).default: _broadcast for name in ("relu", "sigmoid", "relu_", "floor_divide")},
}
"""Output shapes of frequent operators; torch's own meta functions run dozens of other operators to compute them."""

_FLOP: dict[Any, Callable[..., int]] = {**flop_registry, torch.ops.aten.grid_sampler_2d: _sampling_flop}


class _Counter(TorchDispatchMode):  # type: ignore[no-untyped-call]  # its base has an untyped hook
    """Adds up FLOP by torch's formulas. Torch's `FlopCounterMode` also tracks modules, which takes far longer."""

    flop = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        out = _SHAPES.get(func, func)(*args, **kwargs)
        formula = _FLOP.get(func.overloadpacket)
        if formula is not None:
            self.flop += formula(*args, **kwargs, out_val=out)
        return out


def count_parameters(module: nn.Module) -> int:
    """Returns the number of all parameters, whether they are trained or not."""
    return sum(p.numel() for p in module.parameters())


@torch.inference_mode(False)  # inference mode would not decompose composite operators, which have no formula
def count_macs(module: nn.Module, *shapes: tuple[int, ...]) -> int:
    """Returns the MACs of one forward pass in evaluation mode.

    It runs on meta tensors, which have shapes but no data. The module itself is not changed.

    Args:
        module: The module to count.
        *shapes: The shapes of its inputs.
    """
    modes = {part: part.training for part in module.modules()}
    # Meta tensors stand in for the weights, because operators refuse to mix them with real ones.
    tensors = {
        name: torch.empty_like(value, device="meta")
        for name, value in itertools.chain(module.named_parameters(), module.named_buffers())
    }
    inputs = tuple(torch.empty(shape, device="meta") for shape in shapes)
    counter = _Counter()  # type: ignore[no-untyped-call]

    def add_window(part: Align, planes: tuple[Tensor, Tensor], out: Tensor) -> None:
        counter.flop += 2 * part.window_macs(*planes)

    handles = [part.register_forward_hook(add_window) for part in module.modules() if isinstance(part, Align)]
    module.eval()
    try:
        with torch.no_grad(), counter:
            functional_call(module, tensors, inputs)
    finally:
        for handle in handles:
            handle.remove()
        for part, training in modes.items():
            part.training = training
    return counter.flop // 2
