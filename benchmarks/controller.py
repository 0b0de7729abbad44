"""Controller and PPO against the authors' way of running them: ``python benchmarks/controller.py [--threads 1]``.

CamVid's space (5 layers, 25 tokens), all forms interleaved in one process; process CPU time, minimum and
median, and wall time. The baseline is written here from the description of the authors' code: one string at a time, one
token at a time through `nn.LSTM` on sequences of length one, a linear head for every kind of token, and an update
that goes through the buffer string by string with a backward pass for each.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor, nn

from vseg_nas.nas.strategies.ppo import PPO
from vseg_nas.nas.strategies.settings import PPOSettings
from vseg_nas.nas.trial import Evaluation, Trial, TrialState
from vseg_nas.space import SearchSpace

SPACE = SearchSpace(5)
STRINGS = 100
REPEATS = 10
LEARNING_RATE, CLIP, MAX_GRAD_NORM = 1e-4, 0.1, 2.0


class AuthorsWay(nn.Module):
    """A controller that emits and scores one string, one token at a time."""

    def __init__(self) -> None:
        super().__init__()
        self.lstm = nn.LSTM(100, 100, 2)
        self.start = nn.Parameter(torch.empty(1, 1, 100))
        self.inputs = nn.ModuleList(nn.Linear(100, 5 + layer) for layer in range(5) for _ in range(2))
        self.operation = nn.Linear(100, 6)
        self.aggregation = nn.Linear(100, 6)
        for parameter in self.parameters():
            nn.init.uniform_(parameter, -0.1, 0.1)

    def forward(self, tokens: tuple[int, ...] | None = None) -> tuple[list[int], Tensor]:
        """A sampled string, or the given one, and its log-probability."""
        x, state = self.start, None
        for _ in range(5):
            x, state = self.lstm(x, state)
        chosen: list[int] = []
        log_probs = []
        for position in range(len(SPACE.token_sizes)):
            x, state = self.lstm(x, state)
            layer, kind = divmod(position, 5)
            head = self.inputs[2 * layer + kind] if kind < 2 else self.aggregation if kind == 4 else self.operation
            log_p = head(x[0, 0]).log_softmax(0)
            token = int(log_p.exp().multinomial(1)) if tokens is None else tokens[position]
            chosen.append(token)
            log_probs.append(log_p[token])
        return chosen, torch.stack(log_probs).sum()


class AuthorsUpdate:
    """Goes through a full buffer, string by string."""

    def __init__(self) -> None:
        self.policy = AuthorsWay()
        self.optimizer = torch.optim.Adam(self.policy.parameters(), lr=LEARNING_RATE)
        with torch.no_grad():
            self.buffer = [(tuple(tokens), log_prob) for tokens, log_prob in (self.policy() for _ in range(STRINGS))]

    def __call__(self) -> None:
        """One update."""
        for row in torch.randperm(STRINGS).tolist():
            tokens, old = self.buffer[row]
            advantage = reward(row) - 0.5
            ratio = (self.policy(tokens)[1] - old).exp()
            loss = torch.max(-advantage * ratio, -advantage * ratio.clamp(1 - CLIP, 1 + CLIP))
            self.optimizer.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(self.policy.parameters(), MAX_GRAD_NORM)
            self.optimizer.step()


class OurUpdate:
    """What `PPO.tell` does for one more reward when the buffer is full; asking for the cell comes on top."""

    def __init__(self, minibatch_size: int) -> None:
        filling = PPO(SPACE, 0, PPOSettings(buffer_size=STRINGS, minibatch_size=STRINGS))
        for row, genotype in enumerate(filling.ask(STRINGS)):
            filling.tell([_trial(row, genotype.tokens)])
        self.strategy = PPO(SPACE, 0, PPOSettings(buffer_size=STRINGS, minibatch_size=minibatch_size))
        self.strategy.load_state_dict(filling.state_dict())

    def __call__(self) -> None:
        """One cell asked for and told."""
        (genotype,) = self.strategy.ask(1)
        self.strategy.tell([_trial(0, genotype.tokens)])


def reward(row: int) -> float:
    """Rewards from 0 to 1 in a mixed order."""
    return row * 37 % STRINGS / STRINGS


def _trial(row: int, tokens: tuple[int, ...]) -> Trial:
    score = reward(row)
    evaluation = Evaluation(score, score, score, score, parameters=0, macs=0, seconds=0.0, epochs=1)
    return Trial(row, SPACE.genotype(tokens), 0, TrialState.COMPLETE, evaluation)


def compare(title: str, forms: dict[str, Callable[[], object]]) -> dict[str, dict[str, float]]:
    """Prints a table of interleaved runs and returns milliseconds; the first form is the baseline."""
    cpu: dict[str, list[float]] = {name: [] for name in forms}
    wall: dict[str, list[float]] = {name: [] for name in forms}
    for _ in range(REPEATS):
        for name, form in forms.items():
            starts = time.process_time(), time.perf_counter()
            form()
            cpu[name].append(1e3 * (time.process_time() - starts[0]))
            wall[name].append(1e3 * (time.perf_counter() - starts[1]))
    baseline = min(next(iter(cpu.values())))
    print(f"\n{title}\n{'':>30} {'CPU ms':>18} {'wall ms':>18} {'ratio':>7}   (minimum / median of {REPEATS})")
    result = {}
    for name in forms:
        cells = [f"{min(times[name]):.2f} / {statistics.median(times[name]):.2f}" for times in (cpu, wall)]
        ratio = baseline / min(cpu[name])
        print(f"{name:>30} {cells[0]:>18} {cells[1]:>18} {ratio:>7.1f}")
        result[name] = {"cpu_ms": min(cpu[name]), "wall_ms": min(wall[name]), "ratio": ratio}
    return result


def main() -> None:
    """Prints two tables and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--threads", type=int, default=1)
    torch.set_num_threads(parser.parse_args().threads)
    torch.manual_seed(0)
    authors, update = AuthorsWay(), AuthorsUpdate()
    policy = PPO(SPACE, 0).policy
    generator = torch.Generator().manual_seed(0)
    parameters = [sum(p.numel() for p in module.parameters()) for module in (authors, policy)]
    assert parameters[0] == parameters[1], f"not the same controller: {parameters} parameters"

    def sample_singly() -> None:
        for _ in range(STRINGS):
            authors()

    def sample_one_by_one() -> None:
        for _ in range(STRINGS):
            policy(generator=generator)

    with torch.no_grad():
        sampling = compare(
            f"sampling {STRINGS} cells",
            {
                "the authors' way": sample_singly,
                "ours, asked one by one": sample_one_by_one,
                "ours, asked at once": lambda: policy(n=STRINGS, generator=generator),
            },
        )
    updates = compare(
        f"one PPO update, {STRINGS} strings in the buffer",
        {
            "the authors' way": update,
            "their schedule (default)": OurUpdate(1),
            "minibatch_size=10": OurUpdate(10),
            f"minibatch_size={STRINGS}": OurUpdate(STRINGS),
        },
    )
    print(json.dumps({"sampling": sampling, "update": updates}))


if __name__ == "__main__":
    main()
