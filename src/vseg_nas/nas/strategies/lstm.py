"""The unroll of an LSTM that reads its own output, with gradients of its weights in one product for all steps.

Legend: T steps, S layers, H units of every layer.
"""

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

Weights = Sequence[Tensor]
"""Weights of a layer as `torch.lstm_cell` takes them: (4H, H) twice, (4H,) twice; gates are in the order i, f, g, o."""


def unroll(start: Tensor, steps: int, layers: Sequence[Weights]) -> Tensor:
    """Outputs of the last layer; each is the input of the first layer in the next step.

    The gradient of a weight matrix is a sum of T outer products. Autograd makes and adds them one by one, which is
    most of the time of a backward pass; here the gradients at the gates of all steps are kept and multiplied once.

    Args:
        start: (1, H) input of the first step; states start from zero.
        steps: Number of steps, T.
        layers: Weights of the S layers.

    Returns:
        (T, H) outputs.
    """
    outputs: Tensor = _Unroll.apply(start, steps, *(weight for layer in layers for weight in layer))
    return outputs


class _Unroll(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, start: Tensor, steps: int, *weights: Tensor) -> Tensor:
        layers = _by_layer(weights)
        zero = torch.zeros_like(start)
        hiddens, cells = ([[zero] for _ in layers] for _ in range(2))
        x = start
        for _ in range(steps):
            for layer, hidden, cell in zip(layers, hiddens, cells, strict=True):
                x, c = torch.lstm_cell(x, (hidden[-1], cell[-1]), *layer)
                hidden.append(x)
                cell.append(c)
        states = [torch.cat(rows) for rows in (*hiddens, *cells)]
        ctx.save_for_backward(start, *weights, *states)
        return states[len(layers) - 1][1:]

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        start, *saved = ctx.saved_tensors
        count = len(saved) // 6  # four weights and two states of every layer
        layers = _by_layer(saved[: 4 * count])
        hiddens, cells = saved[4 * count : 5 * count], saved[5 * count :]
        inputs = [torch.cat((start, hiddens[-1][1:-1])), *(hidden[1:] for hidden in hiddens[:-1])]
        slopes = [_Slopes(*parts) for parts in zip(layers, inputs, hiddens, cells, strict=True)]
        to_input = torch.zeros_like(start[0])  # of the first layer, in the step after
        for t in reversed(range(len(grad))):
            above = grad[t] + to_input
            for layer in reversed(slopes):
                above = layer.step_back(t, above)
            to_input = above
        return to_input[None], None, *(gradient for layer in slopes for gradient in layer.of_weights())


class _Slopes:
    """One layer on the way back.

    With z the gates before their nonlinearity, c the cell, h the output, and ' for the step before::

        c = f c' + i g,    h = o tanh(c),    dc += dh o (1 - tanh(c)^2),
        dz = (dc g i(1 - i), dc c' f(1 - f), dc i (1 - g^2), dh tanh(c) o(1 - o)),    dc' = dc f

    Everything but dh and dc is known for all steps before the way back begins.

    Args:
        weights: Weights of the layer.
        inputs: (T, H) inputs of all steps.
        hidden: (T + 1, H) zero, then the outputs of all steps.
        cell: (T + 1, H) zero, then the cells of all steps.
    """

    def __init__(self, weights: Weights, inputs: Tensor, hidden: Tensor, cell: Tensor) -> None:
        self._read = torch.cat((inputs, hidden[:-1]), 1)
        self._matrix = torch.cat((weights[0], weights[1]), 1)
        i, f, g, o = torch.addmm(weights[2] + weights[3], self._read, self._matrix.T).chunk(4, 1)
        i, f, g, o = i.sigmoid(), f.sigmoid(), g.tanh(), o.sigmoid()
        tanh = cell[1:].tanh()
        of_gates = (g * i * (1 - i), cell[:-1] * f * (1 - f), i * (1 - g * g), tanh * o * (1 - o))
        self._of_gates = torch.stack(of_gates, 1).unbind()
        self._of_cell = (o * (1 - tanh * tanh)).unbind()
        self._forget = f.unbind()
        self._at_gates: list[Tensor] = []
        self._to_hidden = self._to_cell = torch.zeros_like(cell[0])

    def step_back(self, t: int, above: Tensor) -> Tensor:
        """Returns the gradient at the input of a step.

        Args:
            t: Number of the step.
            above: (H,) gradient at the output of the step, without what the step after adds to it.

        Returns:
            (H,) gradient.
        """
        dh = above + self._to_hidden
        dc = torch.addcmul(self._to_cell, dh, self._of_cell[t])
        dz = (torch.stack((dc, dc, dc, dh)) * self._of_gates[t]).flatten()
        self._at_gates.append(dz)
        self._to_cell = dc * self._forget[t]
        to_input, self._to_hidden = torch.mv(self._matrix.T, dz).chunk(2)
        return to_input

    def of_weights(self) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Gradients of the four weights, after all steps."""
        dz = torch.stack(self._at_gates[::-1], 1)
        to_input, to_hidden = (dz @ self._read).chunk(2, 1)
        bias = dz.sum(1)
        return to_input, to_hidden, bias, bias


def _by_layer(weights: Sequence[Tensor]) -> list[Weights]:
    return [weights[i : i + 4] for i in range(0, len(weights), 4)]
