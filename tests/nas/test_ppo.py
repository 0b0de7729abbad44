import math

import pytest
import torch
from torch import nn

from tests.builders import scored
from vseg_nas.nas.strategies.policy_gradient import Rollout, moving_average
from vseg_nas.nas.strategies.ppo import PPO, ppo_loss
from vseg_nas.nas.strategies.reinforce import reinforce_loss
from vseg_nas.nas.strategies.settings import PPOSettings
from vseg_nas.space import SearchSpace

# ratio, advantage, loss by hand at clip 0.1, and whether the gradient survives the clip
HAND_TABLE = [
    (0.5, 2.0, -1.0, True),
    (1.05, 2.0, -2.1, True),
    (1.5, 2.0, -2.2, False),
    (0.5, -2.0, 1.8, False),
    (1.05, -2.0, 2.1, True),
    (1.5, -2.0, 3.0, True),
]


@pytest.mark.parametrize(("ratio", "advantage", "expected", "learns"), HAND_TABLE)
def test_loss_and_gradient_of_one_string(ratio: float, advantage: float, expected: float, learns: bool) -> None:
    old = torch.tensor([-3.0], dtype=torch.float64)
    log_prob = (old + math.log(ratio)).requires_grad_()
    loss = ppo_loss(log_prob, old, torch.tensor([advantage], dtype=torch.float64), clip=0.1)
    loss.pg_loss.backward()  # type: ignore[no-untyped-call]
    assert log_prob.grad is not None
    assert loss.pg_loss.item() == pytest.approx(expected)
    assert log_prob.grad.item() == pytest.approx(-advantage * ratio if learns else 0.0)
    assert loss.clipfrac.item() == (abs(ratio - 1) > 0.1)
    assert loss.approx_kl.item() == pytest.approx(ratio - 1 - math.log(ratio))


def test_loss_of_a_batch_is_the_mean() -> None:
    ratios, advantages, losses, _ = zip(*HAND_TABLE, strict=True)
    found = ppo_loss(torch.tensor(ratios).log(), torch.zeros(6), torch.tensor(advantages), clip=0.1)
    assert found.pg_loss.item() == pytest.approx(sum(losses) / 6)
    assert found.clipfrac.item() == pytest.approx(4 / 6)


def test_losses_refuse_to_broadcast() -> None:
    with pytest.raises(ValueError, match="differ in shape"):
        ppo_loss(torch.zeros(3), torch.zeros(3, 1), torch.zeros(3), clip=0.1)
    with pytest.raises(ValueError, match="differ"):
        reinforce_loss(torch.zeros(3), torch.zeros(3, 1))


def test_reinforce_loss_by_hand() -> None:
    assert reinforce_loss(torch.tensor([-1.0, -4.0]), torch.tensor([2.0, -0.5])).item() == 0.0
    assert reinforce_loss(torch.tensor([-3.0]), torch.tensor([0.5])).item() == 1.5


def test_baseline_by_hand() -> None:
    first = moving_average(None, 0.4, 0.95)
    assert first == 0.4
    assert moving_average(first, 1.0, 0.95) == pytest.approx(0.43)


def test_first_reward_has_no_advantage_and_moves_nothing() -> None:
    strategy = PPO(SearchSpace(1), seed=0)
    before = [parameter.clone() for parameter in strategy.policy.parameters()]
    strategy.tell([scored(strategy.ask(1)[0], 0.7)])
    assert all(map(torch.equal, before, strategy.policy.parameters()))
    assert strategy.diagnostics()["baseline"] == 0.7


@pytest.mark.parametrize("sign", [1, -1])
def test_moves_towards_good_strings_and_away_from_bad_ones(sign: int) -> None:
    strategy = PPO(SearchSpace(1), seed=0)
    first, second = strategy.ask(2)
    tokens = torch.tensor([second.tokens])
    before = strategy.policy(tokens).log_prob.item()
    strategy.tell([scored(first, 0.5), scored(second, 0.5 + sign * 0.3)])
    assert (strategy.policy(tokens).log_prob.item() - before) * sign > 1e-4


@pytest.mark.parametrize(("minibatch_size", "steps"), [(1, [1, 2, 3, 4, 4, 4]), (3, [1, 1, 1, 2, 2, 2])])
def test_steps_on_filled_rows_only_and_keeps_the_last(
    minibatch_size: int, steps: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    strategy = PPO(SearchSpace(1), 0, PPOSettings(buffer_size=4, minibatch_size=minibatch_size))
    batches: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []

    def step(tokens: torch.Tensor, old_log_prob: torch.Tensor, advantage: torch.Tensor) -> tuple[float, ...]:
        batches.append((tokens, old_log_prob, advantage))
        return (0.0,) * 5

    monkeypatch.setattr(strategy, "_step", step)
    genotypes = strategy.ask(6)
    rewards = [0.1, 0.5, 0.3, 0.9, 0.2, 0.6]
    baseline = None
    log_probs = strategy.policy(torch.tensor([genotype.tokens for genotype in genotypes])).log_prob
    for count, (genotype, reward) in enumerate(zip(genotypes, rewards, strict=True), start=1):
        batches.clear()
        strategy.tell([scored(genotype, reward)])
        baseline = moving_average(baseline, reward, 0.95)
        assert len(batches) == steps[count - 1]
        kept = range(max(0, count - 4), count)
        expected = {(genotypes[i].tokens, log_probs[i].item(), rewards[i] - baseline) for i in kept}
        found = {
            (tuple(tokens), old, advantage)
            for batch in batches
            for tokens, old, advantage in zip(*(column.tolist() for column in batch), strict=True)
        }
        assert sorted(found) == [
            (tokens, pytest.approx(old), pytest.approx(advantage)) for tokens, old, advantage in sorted(expected)
        ]


def test_uses_the_log_probability_of_the_time_of_sampling() -> None:
    strategy = PPO(SearchSpace(1), 0, PPOSettings(learning_rate=1e-2))
    (late,) = strategy.ask(1)
    at_sampling = strategy.policy(torch.tensor([late.tokens])).log_prob.item()
    for reward in (0.2, 0.8, 0.4):
        strategy.tell([scored(strategy.ask(1)[0], reward)])
    strategy.load_state_dict(strategy.state_dict())
    strategy.tell([scored(late, 0.5)])
    ((_, stored), _) = strategy.state_dict()["buffer"][-1]
    assert stored == pytest.approx(at_sampling, abs=1e-6)
    assert abs(strategy.policy(torch.tensor([late.tokens])).log_prob.item() - at_sampling) > 1e-3


def buffered(minibatch_size: int, entropy_coef: float = 0.0) -> PPO:
    """A strategy that has learnt from eight rewards."""
    strategy = PPO(
        SearchSpace(2), 3, PPOSettings(minibatch_size=minibatch_size, entropy_coef=entropy_coef, learning_rate=1e-3)
    )
    for reward in (0.2, 0.8, 0.4, 0.9, 0.1, 0.6, 0.5, 0.3):
        strategy.tell([scored(strategy.ask(1)[0], reward)])
    return strategy


def test_minibatches_of_one_are_the_authors_schedule_bit_for_bit() -> None:
    strategy, entropy_coef = buffered(1, entropy_coef=0.01), 0.01
    twin = buffered(1, entropy_coef)
    (genotype,) = strategy.ask(1)
    (rollout,) = (Rollout(*row) for row in strategy.state_dict()["pending"])
    twin.ask(1)
    policy = twin.policy
    adam = torch.optim.Adam(policy.parameters(), lr=1e-3)
    adam.load_state_dict(twin.state_dict()["optimizer"])
    rows = [*((Rollout(*row), reward) for row, reward in twin.state_dict()["buffer"]), (rollout, 0.7)]
    generator = torch.Generator()
    generator.set_state(twin.state_dict()["generator"])
    baseline = 0.95 * twin.state_dict()["baseline"] + (1 - 0.95) * 0.7
    for row in torch.randperm(len(rows), generator=generator).tolist():
        (tokens, old_log_prob), reward = rows[row]
        advantage = torch.tensor(reward - baseline)
        output = policy(torch.tensor([tokens]))
        ratio = (output.log_prob[0] - old_log_prob).exp()
        loss = torch.max(-advantage * ratio, -advantage * ratio.clamp(0.9, 1.1)) - entropy_coef * output.entropy[0]
        adam.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(policy.parameters(), 2.0)
        adam.step()
    strategy.tell([scored(genotype, 0.7)])
    for name, value in strategy.policy.state_dict().items():
        assert torch.equal(value, policy.state_dict()[name]), name


def test_the_gradient_of_a_minibatch_is_the_mean_over_its_strings() -> None:
    strategy = buffered(1)
    rows = strategy.state_dict()["buffer"]
    tokens = torch.tensor([tokens for (tokens, _), _ in rows])
    old = torch.tensor([log_prob for (_, log_prob), _ in rows])
    advantage = torch.tensor([reward - 0.5 for _, reward in rows])

    def gradients(batch: slice) -> tuple[torch.Tensor, ...]:
        loss = ppo_loss(strategy.policy(tokens[batch]).log_prob, old[batch], advantage[batch], clip=0.1)
        return torch.autograd.grad(loss.pg_loss, tuple(strategy.policy.parameters()))

    singles = [gradients(slice(i, i + 1)) for i in range(len(rows))]
    mean = tuple(torch.stack(parts).mean(0) for parts in zip(*singles, strict=True))
    torch.testing.assert_close(gradients(slice(None)), mean, rtol=1e-4, atol=1e-7)


def test_one_minibatch_of_the_whole_buffer_is_one_step() -> None:
    strategy = buffered(100)
    steps = next(iter(strategy.state_dict()["optimizer"]["state"].values()))["step"]
    assert steps.item() == 8  # one for each reward


def test_empty_rows_take_part_as_in_the_authors_code() -> None:
    """Adam by hand over the same order of rows: empty ones have no gradient, but decay the moments."""
    strategy = PPO(SearchSpace(1), 0, PPOSettings(buffer_size=7, reference=True))
    for score in (0.7, 0.9):
        strategy.tell([scored(strategy.ask(1)[0], score)])
    rows = [(rollout.tokens, rollout.log_prob, reward) for rollout, reward in strategy._buffer]
    assert [row for row in rows if row[1] == 0] == [((0,) * 5, 0.0, 0.0)] * 5
    (genotype,) = strategy.ask(1)
    weights = [p.detach().clone() for p in strategy.policy.parameters()]
    state = strategy.state_dict()["optimizer"]["state"]
    moments = [(state[i]["exp_avg"].clone(), state[i]["exp_avg_sq"].clone()) for i in range(len(weights))]
    steps = int(state[0]["step"])
    assert steps == 14  # seven rows each time, whatever is in them
    twin = PPO(SearchSpace(1), 0, PPOSettings(buffer_size=7, reference=True))
    twin.load_state_dict(strategy.state_dict())
    order = torch.randperm(7, generator=twin._generator)
    strategy.tell([scored(genotype, 0.2)])
    baseline = strategy.diagnostics()["baseline"]
    moved = 0
    for row in order.tolist():
        rollout, reward = list(strategy._buffer)[row]
        twin.policy.zero_grad()
        output = twin.policy(torch.tensor([rollout.tokens]))
        loss = ppo_loss(output.log_prob, torch.tensor([rollout.log_prob]), torch.tensor([reward - baseline]), 0.1)
        loss.pg_loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(twin.policy.parameters(), 2.0)
        steps += 1
        for index, parameter in enumerate(twin.policy.parameters()):
            assert parameter.grad is not None
            if rollout.log_prob == 0.0:
                assert not parameter.grad.any()
            first, second = moments[index]
            first, second = 0.9 * first + 0.1 * parameter.grad, 0.999 * second + 0.001 * parameter.grad**2
            moments[index] = first, second
            step = 1e-4 * (first / (1 - 0.9**steps)) / ((second / (1 - 0.999**steps)).sqrt() + 1e-8)
            moved += int(rollout.log_prob == 0.0 and bool(step.any()))
            parameter.data -= step
    assert moved  # weights do move on rows without a gradient
    for ours, expected in zip(strategy.policy.parameters(), twin.policy.parameters(), strict=True):
        torch.testing.assert_close(ours, expected, rtol=0, atol=1e-6)
    assert any((p - w).abs().max() > 1e-5 for p, w in zip(strategy.policy.parameters(), weights, strict=True))


def test_the_first_reward_moves_nothing_in_either_form_and_a_full_buffer_is_the_same() -> None:
    for reference in (False, True):
        strategy = PPO(SearchSpace(1), 0, PPOSettings(buffer_size=3, reference=reference))
        before = [parameter.clone() for parameter in strategy.policy.parameters()]
        strategy.tell([scored(strategy.ask(1)[0], 0.7)])
        assert all(map(torch.equal, before, strategy.policy.parameters()))
        for score in (0.1, 0.2, 0.3):
            strategy.tell([scored(strategy.ask(1)[0], score)])
        assert [reward for _, reward in strategy._buffer] == [0.1, 0.2, 0.3]


def test_early_steps_are_larger_with_empty_rows() -> None:
    """The second moment is shared with rows that have no gradient."""
    moved = []
    for reference in (False, True):
        strategy = PPO(SearchSpace(1), 0, PPOSettings(buffer_size=10, reference=reference))
        before = torch.cat([parameter.detach().flatten() for parameter in strategy.policy.parameters()])
        for score in (0.2, 0.9, 0.1, 0.8):
            strategy.tell([scored(strategy.ask(1)[0], score)])
        after = torch.cat([parameter.detach().flatten() for parameter in strategy.policy.parameters()])
        moved.append((after - before).norm().item())
    assert moved[1] > 1.5 * moved[0]
