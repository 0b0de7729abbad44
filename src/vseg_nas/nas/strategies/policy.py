"""The controller: a two-layer LSTM that emits the tokens of a cell one by one (sections 3.2 and 4.1).

Legend: N token strings, L tokens in a string, V most values that a token can take, H hidden units.
"""

from typing import NamedTuple, get_args

import torch
from torch import Tensor, nn

from vseg_nas.nas.strategies.lstm import unroll
from vseg_nas.nas.strategies.settings import Feedback
from vseg_nas.space import SearchSpace
from vseg_nas.space.genotype import Layer

HIDDEN_UNITS = 100
LSTM_LAYERS = 2
INIT_RANGE = 0.1
EXCLUDED = -1e9  # a logit that gives probability 0 and, unlike -inf, an entropy and gradients without NaN


class PolicyOutput(NamedTuple):
    """Token strings and how likely they are.

    Attributes:
        tokens: (N, L) int64.
        log_prob: (N,) log-probability of each string, in nats.
        entropy: (N,) sum of the entropies of the tokens of a string, each given those before it, in nats.
    """

    tokens: Tensor
    log_prob: Tensor
    entropy: Tensor


class Policy(nn.Module):
    """Samples token strings, or scores given ones, through the same code.

    Before the first token the LSTM takes one step per input of the cell. Every location token has a linear
    layer of its own; operations share one over the whole string, and so do aggregations. All parameters start
    from U(-0.1, 0.1): 169,982 of them for 5 layers of the paper's cells with `feedback="hidden"`, 168,164 for 4.

    Where the space does not allow all values of a token after those before it, the others get probability 0, both in
    sampling and in scoring. The entropy is that of the masked distributions.

    Args:
        space: Search space whose tokens are emitted.
        generator: Draws the initial values of the parameters.
        feedback: The input of the LSTM after each token. `hidden` is its own output, as in the authors' code: the
            tokens of a string are then independent of each other, and one unroll serves any number of strings.
            `token` is an embedding of the token that was just emitted.
    """

    columns: Tensor
    excluded: Tensor

    def __init__(self, space: SearchSpace, generator: torch.Generator, feedback: Feedback = "hidden") -> None:
        super().__init__()
        if feedback not in get_args(Feedback):
            raise ValueError(f"feedback: found {feedback!r}, expected one of {get_args(Feedback)}")
        columns, excluded, rows = _head_columns(space)
        self._space = space
        self._warm_up_steps = len(space.vocabulary.inputs)
        with torch.random.fork_rng(devices=[]):  # the constructors below draw from the global generator
            self.lstm = nn.LSTM(HIDDEN_UNITS, HIDDEN_UNITS, LSTM_LAYERS)
            self.start = nn.Parameter(torch.empty(1, HIDDEN_UNITS))
            self.heads = nn.Linear(HIDDEN_UNITS, rows)
            self.embedding = nn.Embedding(rows, HIDDEN_UNITS) if feedback == "token" else None
        self.register_buffer("columns", columns, persistent=False)
        self.register_buffer("excluded", excluded, persistent=False)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter.uniform_(-INIT_RANGE, INIT_RANGE, generator=generator)

    def forward(
        self, tokens: Tensor | None = None, *, n: int = 1, generator: torch.Generator | None = None
    ) -> PolicyOutput:
        """Scores `tokens` or, without any, samples `n` strings and scores them.

        Args:
            tokens: (N, L) int64 strings to score; None draws strings.
            n: Number of strings to sample.
            generator: Draws the samples; needed for that.
        """
        if tokens is None and generator is None:
            raise ValueError("sampling needs a generator")
        if tokens is not None and (tokens.ndim != 2 or tokens.shape[1] != len(self.columns)):
            raise ValueError(f"tokens: found shape {tuple(tokens.shape)}, expected (N, {len(self.columns)})")
        unroll = self._unroll_hidden if self.embedding is None else self._unroll_token
        logits, tokens = unroll(tokens, n, generator)
        log_probs = logits.log_softmax(-1)
        entropy = -(log_probs.exp() * log_probs).sum((1, 2)).expand(len(tokens))
        chosen = log_probs.expand(len(tokens), -1, -1).gather(2, tokens.unsqueeze(2))
        return PolicyOutput(tokens, chosen.sum((1, 2)), entropy)

    def _unroll_hidden(self, tokens: Tensor | None, n: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Logits (1, L, V), or (N, L, V) if they are masked, and tokens (N, L).

        The LSTM reads no tokens, so before the mask its logits are the same for every string.
        """
        outputs = unroll(self.start, self._warm_up_steps + len(self.columns), self.lstm.all_weights)
        logits = self._logits(outputs[None, self._warm_up_steps :])
        if self._space.is_masked:
            masked, chosen = [], torch.empty(n if tokens is None else len(tokens), 0, dtype=torch.int64)
            for t, same in enumerate(logits.unbind(1)):
                masked.append(self._masked(same, chosen))
                token = _draw(masked[t], 1, generator) if tokens is None else tokens[:, t : t + 1]
                chosen = torch.cat((chosen, token), 1)
            return torch.stack(masked, 1), chosen
        if tokens is None:
            tokens = _draw(logits[0], n, generator).T
        return logits, tokens

    def _unroll_token(self, tokens: Tensor | None, n: int, generator: torch.Generator | None) -> tuple[Tensor, Tensor]:
        """Logits (N, L, V) and tokens (N, L)."""
        assert self.embedding is not None
        output, state = self._warm_up(n if tokens is None else len(tokens))
        logits, chosen = [], torch.empty(len(output), 0, dtype=torch.int64)
        for t, columns in enumerate(self.columns):
            output, state = self._step(output, state)
            logits.append(self._masked(self._logits(output, t), chosen))
            token = _draw(logits[t], 1, generator) if tokens is None else tokens[:, t : t + 1]
            chosen = torch.cat((chosen, token), 1)
            output = self.embedding(columns[token.squeeze(1)])
        return torch.stack(logits, 1), chosen

    def _warm_up(self, n: int) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Runs one step per input of the cell; returns the output (N, H) and the state of each LSTM layer."""
        output = self.start.expand(n, -1)
        zero = output.new_zeros(n, HIDDEN_UNITS)
        state = [(zero, zero)] * LSTM_LAYERS
        for _ in range(self._warm_up_steps):
            output, state = self._step(output, state)
        return output, state

    def _step(self, x: Tensor, state: list[tuple[Tensor, Tensor]]) -> tuple[Tensor, list[tuple[Tensor, Tensor]]]:
        """Runs one step of both layers on x (N, H), far faster than `nn.LSTM` does on a sequence of length one."""
        new_state = []
        for weights, layer_state in zip(self.lstm.all_weights, state, strict=True):
            x, cell = torch.lstm_cell(x, layer_state, *weights)
            new_state.append((x, cell))
        return x, new_state

    def _logits(self, output: Tensor, position: int | slice = slice(None)) -> Tensor:
        """Logits (..., V) from outputs (..., H) of one position (N, H), or of all of them (N, L, H)."""
        columns, excluded = self.columns[position], self.excluded[position]
        scores: Tensor = self.heads(output)
        logits = scores.gather(-1, columns.expand(*scores.shape[:-1], -1))
        return logits.masked_fill(excluded, EXCLUDED)

    def _masked(self, logits: Tensor, before: Tensor) -> Tensor:
        """Logits (N, V) of a token, without the values that may not follow the tokens (N, t) before it.

        Args:
            logits: (N, V) or (1, V).
            before: (N, t), in which t is the position of the token.
        """
        if not self._space.is_masked:
            return logits
        unavailable = torch.ones(len(before), logits.shape[-1], dtype=torch.bool)
        for row, tokens in zip(unavailable, before.tolist(), strict=True):
            row[list(self._space.allowed(tokens))] = False
        return logits.masked_fill(unavailable, EXCLUDED)


def _head_columns(space: SearchSpace) -> tuple[Tensor, Tensor, int]:
    """Returns where the logits of each position lie in the one matrix that holds all linear heads.

    Returns:
        The columns (L, V) int64, excluded (L, V) bool where a position has fewer values, and the number of rows.
    """
    sizes = space.token_sizes
    kinds = [name.rstrip("12") if name.startswith("op") else name for name in Layer._fields] * space.layers
    if len(kinds) < len(sizes):
        kinds = ["encoder", *kinds]
    starts: dict[str, int] = {}
    columns = torch.zeros(len(sizes), max(sizes), dtype=torch.int64)
    excluded = torch.ones(len(sizes), max(sizes), dtype=torch.bool)
    rows = 0
    for position, (kind, size) in enumerate(zip(kinds, sizes, strict=True)):
        head = f"{kind}{position}" if kind.startswith("input") else kind
        if head not in starts:
            starts[head] = rows
            rows += size
        columns[position, :size] = torch.arange(starts[head], starts[head] + size)
        excluded[position, :size] = False
    return columns, excluded, rows


def _draw(logits: Tensor, n: int, generator: torch.Generator | None) -> Tensor:
    """Returns `n` draws (B, n) from each of the distributions given by logits (B, V)."""
    return logits.detach().softmax(-1).multinomial(n, replacement=True, generator=generator)
