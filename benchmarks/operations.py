"""Every operation and aggregation on its own: ``python benchmarks/operations.py [--batch 1] [--threads 1]``.

64 channels, 45x60 pixels (1/8 of CamVid), in training mode, channels-last as in training and inference. The baseline
is one plain 3x3 convolution; four rows more are the obvious forms of what we compute otherwise: torchvision's
deformable convolution, nn.Conv3d over two stacked maps, local filters and window attention by unfolding. All
interleaved in one process; process CPU time (minimum / median) and wall time (minimum) in ms, and how many times as
long as the baseline. Prints a JSON line.
"""

import argparse
import json
import math
import statistics
import time
from collections.abc import Callable, Iterator
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import deform_conv2d as torchvision_deform_conv2d

from vseg_nas.models.aggregations import Align, build_aggregation
from vseg_nas.models.deform import deform_conv2d
from vseg_nas.models.operations import build_operation
from vseg_nas.space.vocabulary import OPERATIONS, STREAMING

CHANNELS, HEIGHT, WIDTH = 64, 45, 60
BASELINE = "3x3 convolution"
Call = Callable[[bool], object]


class StackedConv3d(nn.Module):
    """As `Conv3d`, by torch's operator for volumes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv3d(CHANNELS, CHANNELS, (2, 3, 3), padding=(0, 1, 1), bias=False)
        self.norm = nn.BatchNorm2d(CHANNELS)

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Stacks and convolves."""
        return F.relu(self.norm(self.conv(torch.stack((x1, x2), 2)).squeeze(2)))


class UnfoldedPredictive(nn.Module):
    """As `Predictive`, with nine copies of x2."""

    def __init__(self) -> None:
        super().__init__()
        self.kernels = nn.Conv2d(CHANNELS, 9, 3, padding=1)

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Predicts the kernels and applies them."""
        patches = F.unfold(x2, 3, padding=1).view(-1, CHANNELS, 9, HEIGHT, WIDTH)
        return torch.einsum("bckhw,bkhw->bchw", patches, self.kernels(x1).softmax(1))


class UnfoldedAlign(Align):
    """As `Align`, with 25 copies of the keys and of x2."""

    def forward(self, x1: Tensor, x2: Tensor) -> Tensor:
        """Attends to all neighbours at once."""
        side = 2 * self.RADIUS + 1
        keys, values = (F.unfold(x, side, padding=self.RADIUS) for x in (self.key(x2), x2))
        inside = F.unfold(torch.ones(1, 1, HEIGHT, WIDTH), side, padding=self.RADIUS).view(1, -1, HEIGHT, WIDTH)
        keys = keys.view(-1, self.CHANNELS, side**2, HEIGHT, WIDTH)
        scores = torch.einsum("bchw,bckhw->bkhw", self.query(x1), keys) / math.sqrt(self.CHANNELS) + self.bias
        weights = scores.masked_fill(inside == 0, -math.inf).softmax(1)
        return torch.einsum("bckhw,bkhw->bchw", values.view(-1, CHANNELS, side**2, HEIGHT, WIDTH), weights)


def torchvisions(x: Tensor, offset: Tensor, mask: Tensor, weight: Tensor) -> Tensor:
    """Their operator with the order of our arguments."""
    out: Tensor = torchvision_deform_conv2d(x, offset, weight, padding=1, mask=mask)
    return out


def calls(batch: int) -> Iterator[tuple[str, Call]]:
    """Names and what to time."""

    def plane(channels: int, scale: float = 1.0) -> Tensor:
        drawn = scale * torch.randn(batch, channels, HEIGHT, WIDTH)
        return drawn.contiguous(memory_format=torch.channels_last).requires_grad_()

    def of_module(module: nn.Module, inputs: tuple[Tensor, ...]) -> Call:
        if not isinstance(module, StackedConv3d):  # whose weights have five dimensions
            module = module.to(memory_format=torch.channels_last)
        return partial(run, module, inputs, tuple(module.parameters()))

    x1, x2 = plane(CHANNELS), plane(CHANNELS)
    yield BASELINE, of_module(nn.Conv2d(CHANNELS, CHANNELS, 3, padding=1), (x1,))
    for index, name in enumerate(OPERATIONS):
        yield name, of_module(build_operation(index, CHANNELS), (x1,))
    for index, name in enumerate(STREAMING.aggregations):
        yield name, of_module(build_aggregation(index, CHANNELS), (x1, x2))
    yield "conv_3d by nn.Conv3d", of_module(StackedConv3d(), (x1, x2))
    yield "predictive by unfolding", of_module(UnfoldedPredictive(), (x1, x2))
    yield "align by unfolding", of_module(UnfoldedAlign(CHANNELS), (x1, x2))
    inputs = (x1, plane(18, 2.0), plane(9), torch.randn(CHANNELS, CHANNELS, 3, 3, requires_grad=True))
    yield "deformable, ours", partial(run, deform_conv2d, inputs, ())
    yield "deformable, torchvision", partial(run, torchvisions, inputs, ())


def run(
    function: Callable[..., Tensor], inputs: tuple[Tensor, ...], parameters: tuple[Tensor, ...], back: bool
) -> None:
    """One forward pass; ``back``: and the gradients of everything."""
    with torch.set_grad_enabled(back):
        out = function(*inputs)
    if back and out.grad_fn is not None:
        torch.autograd.grad(out.sum(), (*inputs, *parameters))


def main() -> None:
    """Prints a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("batch", 1), ("threads", 1), ("repeats", 15)):
        parser.add_argument(f"--{name}", type=int, default=default)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    rows = dict(calls(args.batch))
    times: dict[tuple[str, bool], list[tuple[float, float]]] = {}
    for turn in range(args.repeats + 1):
        for name, call in rows.items():
            for back in (False, True):
                cpu, wall = time.process_time(), time.perf_counter()
                call(back)
                spent = 1e3 * (time.process_time() - cpu), 1e3 * (time.perf_counter() - wall)
                if turn:  # the first one warms up
                    times.setdefault((name, back), []).append(spent)
    print(f"batch {args.batch}, {CHANNELS}x{HEIGHT}x{WIDTH}, {args.threads} thread(s), {args.repeats} repeats; ms")
    print(f"{'':>24} {'forward CPU':>15} {'wall':>6} {'times':>6} {'with backward':>17} {'wall':>6} {'times':>6}")
    result: dict[str, dict[str, float]] = {}
    for name in rows:
        cells = []
        result[name] = {}
        for back, form in ((False, "forward"), (True, "both")):
            cpus, walls = zip(*times[name, back], strict=True)
            ratio = min(cpus) / min(cpu for cpu, _ in times[BASELINE, back])
            result[name] |= {f"{form}_cpu_ms": min(cpus), f"{form}_wall_ms": min(walls), f"{form}_times": ratio}
            spread = f"{min(cpus):.2f} / {statistics.median(cpus):.2f}"
            cells.append(f"{spread:>{15 if not back else 17}} {min(walls):>6.2f} {ratio:>6.2f}")
        print(f"{name:>24} {' '.join(cells)}")
    print(json.dumps({"batch": args.batch, "threads": args.threads, "rows": result}))


if __name__ == "__main__":
    main()
