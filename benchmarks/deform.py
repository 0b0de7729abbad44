"""Deformable 3x3 convolution against torchvision's operator: ``python benchmarks/deform.py``.

64 channels, 45x60 pixels, one thread, both interleaved in one process; process CPU time, minimum and median.
"""

import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor
from torchvision.ops import deform_conv2d as torchvision_deform_conv2d

from vseg_nas.models.deform import deform_conv2d

REPEATS = 15
CHANNELS, HEIGHT, WIDTH = 64, 45, 60
Operator = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]


def theirs(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Torchvision's operator with our argument order."""
    out: Tensor = torchvision_deform_conv2d(x, offset, weight, padding=1, mask=mask)
    return out


def milliseconds(operator: Operator, inputs: tuple[Tensor, Tensor, Tensor, Tensor], backward: bool) -> float:
    """CPU time of one call."""
    start = time.process_time()
    out = operator(*inputs)
    if backward:
        torch.autograd.grad(out.sum(), inputs)
    return 1e3 * (time.process_time() - start)


def main() -> None:
    """Prints a table and a JSON line."""
    torch.set_num_threads(1)
    torch.manual_seed(0)
    print(f"{'':>18} {'ours ms':>16} {'torchvision ms':>16} {'ratio':>6}   (minimum / median of {REPEATS})")
    result = {}
    for batch in (1, 4):
        for backward in (False, True):
            plane = (HEIGHT, WIDTH)
            inputs = (
                torch.randn(batch, CHANNELS, *plane, requires_grad=backward),
                (2 * torch.randn(batch, 18, *plane)).requires_grad_(backward),
                torch.rand(batch, 9, *plane, requires_grad=backward),
                torch.randn(CHANNELS, CHANNELS, 3, 3, requires_grad=backward),
            )
            times: dict[str, list[float]] = {"ours": [], "torchvision": []}
            for _ in range(REPEATS):
                for name, operator in (("ours", deform_conv2d), ("torchvision", theirs)):
                    times[name].append(milliseconds(operator, inputs, backward))
            name = f"batch {batch} {'fwd+bwd' if backward else 'fwd'}"
            ratio = min(times["torchvision"]) / min(times["ours"])
            cells = [f"{min(t):.1f} / {statistics.median(t):.1f}" for t in times.values()]
            print(f"{name:>18} {cells[0]:>16} {cells[1]:>16} {ratio:>6.1f}")
            result[name] = {"ours_ms": min(times["ours"]), "torchvision_ms": min(times["torchvision"]), "ratio": ratio}
    print(json.dumps(result))


if __name__ == "__main__":
    main()
