from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from vseg_nas.nas.strategies.lstm import unroll

STEPS, HIDDEN = 7, 4


def plain(lstm: nn.LSTM, start: Tensor, steps: int) -> Tensor:
    """One call of the LSTM for each step, differentiated by autograd."""
    outputs, x, state = [], start, None
    for _ in range(steps):
        x, state = lstm(x, state)
        outputs.append(x)
    return torch.cat(outputs)


def ours(lstm: nn.LSTM, start: Tensor, steps: int) -> Tensor:
    return unroll(start, steps, lstm.all_weights)


def outputs_and_gradients(
    form: Callable[[nn.LSTM, Tensor, int], Tensor], lstm: nn.LSTM, start: Tensor, steps: int
) -> tuple[Tensor, ...]:
    outputs = form(lstm, start, steps)
    loss = (outputs * torch.linspace(-1, 2, outputs.numel(), dtype=outputs.dtype).view_as(outputs)).sin().sum()
    return outputs, *torch.autograd.grad(loss, (start, *lstm.parameters()))


def make(layers: int, dtype: torch.dtype = torch.float64) -> tuple[nn.LSTM, Tensor]:
    torch.manual_seed(layers)
    lstm = nn.LSTM(HIDDEN, HIDDEN, layers, dtype=dtype)
    with torch.no_grad():
        for parameter in lstm.parameters():
            parameter.mul_(2)  # gates far from the middle, so that mistakes show
    return lstm, torch.randn(1, HIDDEN, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize("steps", [1, STEPS])
@pytest.mark.parametrize("layers", [1, 2, 3])
def test_equals_autograd_through_an_lstm(layers: int, steps: int) -> None:
    lstm, start = make(layers)
    found, expected = (outputs_and_gradients(form, lstm, start, steps) for form in (ours, plain))
    torch.testing.assert_close(found, expected, rtol=1e-10, atol=1e-12)


def test_float32_is_as_exact_as_autograd() -> None:
    lstm, start = make(2, torch.float32)
    found, expected = (outputs_and_gradients(form, lstm, start, STEPS) for form in (ours, plain))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-6)


def test_equals_differences() -> None:
    lstm, start = make(2)
    layers = [[weight.detach().requires_grad_() for weight in layer] for layer in lstm.all_weights]
    flat = [weight for layer in layers for weight in layer]
    assert torch.autograd.gradcheck(
        lambda start, *weights: unroll(start, 3, [weights[:4], weights[4:]]), (start, *flat)
    )
