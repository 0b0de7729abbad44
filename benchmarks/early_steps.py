"""How fast PPO learns from its first rewards: only filled rows (the default), or `strategy.reference=true`.

    python benchmarks/early_steps.py [--seeds 20] [--layers 5] [--strings 48 100] [--threads 1]

A made-up reward with a known maximum: the share of operations that are the good one plus the share of aggregations that
are the good one, both drawn for each seed. Chance gives 1/6 + 1/6 = 0.33, the best string has 2. All positions of a
string share the linear layer of operations, and that of aggregations, so what one position learns helps the others.
After so many strings the mean reward of a thousand fresh ones, mean and standard deviation over seeds; both forms see
the same rewards and draw the same first string.
"""

import argparse
import json
import random
import statistics
import time

import torch

from vseg_nas.nas.strategies.ppo import PPO
from vseg_nas.nas.strategies.settings import PPOSettings
from vseg_nas.nas.trial import Evaluation, Trial, TrialState
from vseg_nas.space import SearchSpace
from vseg_nas.space.vocabulary import AGGREGATIONS, OPERATIONS, TOKENS_PER_LAYER

FRESH = 1000


def share_of_good(tokens: torch.Tensor, operation: int, aggregation: int) -> float:
    """The mean reward of strings (N, L): share of good operations plus share of good aggregations."""
    layers = tokens.view(len(tokens), -1, TOKENS_PER_LAYER)  # input, input, operation, operation, aggregation
    operations, aggregations = layers[..., 2:4] == operation, layers[..., 4] == aggregation
    return (operations.double().mean() + aggregations.double().mean()).item()


def learn(space: SearchSpace, seed: int, strings: list[int], reference: bool) -> list[float]:
    """Mean reward of fresh strings, after each of the numbers of strings."""
    rng = random.Random(seed)
    good = rng.randrange(len(OPERATIONS)), rng.randrange(len(AGGREGATIONS))
    strategy, found = PPO(space, seed, PPOSettings(reference=reference)), []
    for index in range(max(strings)):
        (genotype,) = strategy.ask(1)
        reward = share_of_good(torch.tensor([genotype.tokens]), *good)
        evaluation = Evaluation(reward, reward, reward, reward, parameters=0, macs=0, seconds=0.0, epochs=1)
        strategy.tell([Trial(index, genotype, 0, TrialState.COMPLETE, evaluation)])
        if index + 1 in strings:
            with torch.no_grad():
                tokens = strategy.policy(n=FRESH, generator=torch.Generator().manual_seed(seed)).tokens
            found.append(share_of_good(tokens, *good))
    return found


def main() -> None:
    """Prints a row a seed, a table and a JSON line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, default=20)
    parser.add_argument("--layers", type=int, default=5)
    parser.add_argument("--strings", type=int, nargs="+", default=[48, 100])
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    space, strings = SearchSpace(options.layers), sorted(options.strings)
    found: dict[bool, list[list[float]]] = {False: [], True: []}
    for seed in range(options.seeds):
        start = time.process_time()
        for reference, rows in found.items():
            rows.append(learn(space, seed, strings, reference))
        print(f"seed {seed}: {found[False][-1]} {found[True][-1]}, {time.process_time() - start:.0f} s", flush=True)
    print(f"\n{options.layers} layers, {options.seeds} seeds; mean reward after {strings} strings")
    result = {}
    for reference, name in ((False, "filled rows only (default)"), (True, "reference")):
        columns = list(zip(*found[reference], strict=True))
        cells = [f"{statistics.mean(c):.2f} ± {statistics.stdev(c) if len(c) > 1 else 0:.2f}" for c in columns]
        print(f"{name:>28}  {'  '.join(cells)}")
        result[name] = columns
    print(json.dumps({"strings": strings, "rewards": result}))


if __name__ == "__main__":
    main()
