import itertools
import math

import pytest
import torch
from torch.nn import functional as F

from vseg_nas.nas.strategies.policy import Policy
from vseg_nas.nas.strategies.settings import Feedback
from vseg_nas.space import SearchSpace
from vseg_nas.space.vocabulary import STREAMING

FEEDBACKS: tuple[Feedback, ...] = ("hidden", "token")


def make_policy(layers: int, feedback: Feedback = "hidden", spread: float = 1.0) -> Policy:
    policy = Policy(SearchSpace(layers), torch.Generator().manual_seed(0), feedback)
    with torch.no_grad():
        policy.heads.weight.mul_(spread)  # far from uniform, so that mistakes show
    return policy


def seeded(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize(("layers", "parameters"), [(5, 169_982), (4, 168_164)])
def test_has_as_many_parameters_as_the_authors_controller(layers: int, parameters: int) -> None:
    assert sum(parameter.numel() for parameter in make_policy(layers).parameters()) == parameters


def test_starts_uniform_in_its_range_without_touching_the_global_generator() -> None:
    before = torch.get_rng_state()
    policy = make_policy(2)
    assert torch.equal(before, torch.get_rng_state())
    values = torch.cat([parameter.flatten() for parameter in policy.parameters()])
    assert values.abs().max() <= 0.1
    assert values.std().item() == pytest.approx(0.2 / math.sqrt(12), rel=0.01)


@pytest.mark.parametrize("feedback", FEEDBACKS)
def test_sampling_and_rescoring_agree(feedback: Feedback) -> None:
    policy = make_policy(3, feedback, spread=20.0)
    sampled = policy(n=7, generator=seeded(1))
    rescored = policy(sampled.tokens)
    one_by_one = torch.cat([policy(tokens[None]).log_prob for tokens in sampled.tokens])
    assert sampled.tokens.shape == (7, 15)
    torch.testing.assert_close(rescored.log_prob, sampled.log_prob)
    torch.testing.assert_close(rescored.entropy, sampled.entropy)
    torch.testing.assert_close(one_by_one, sampled.log_prob)


@pytest.mark.parametrize("feedback", FEEDBACKS)
def test_equals_a_plain_loop_over_the_lstm_with_one_head_per_kind_of_token(feedback: Feedback) -> None:
    policy = make_policy(2, feedback, spread=20.0)
    # Rows of the head matrix: inputs of layer 0 (5 + 5), operations, aggregations (6 each), inputs of layer 1.
    starts, sizes = [0, 5, 10, 10, 16, 22, 28, 10, 10, 16], [5, 5, 6, 6, 6] + [6] * 5
    tokens = [1, 4, 5, 0, 3, 5, 2, 2, 1, 0]
    x, state, log_prob, entropy = policy.start[None], None, 0.0, 0.0
    for step in range(5 + len(tokens)):
        output, state = policy.lstm(x, state)
        x = output
        if step >= 5:
            start, size, token = starts[step - 5], sizes[step - 5], tokens[step - 5]
            rows = slice(start, start + size)
            p = F.linear(output[0, 0], policy.heads.weight[rows], policy.heads.bias[rows]).softmax(0)
            log_prob += math.log(p[token].item())
            entropy -= sum(q * math.log(q) for q in p.tolist())
            if policy.embedding is not None:
                x = policy.embedding.weight[start + token].view(1, 1, -1)
    found = policy(torch.tensor([tokens]))
    assert found.log_prob.item() == pytest.approx(log_prob, rel=1e-5)
    assert found.entropy.item() == pytest.approx(entropy, rel=1e-5)


@pytest.mark.parametrize("feedback", FEEDBACKS)
def test_without_heads_every_string_is_equally_likely(feedback: Feedback) -> None:
    policy = make_policy(2, feedback)
    torch.nn.init.zeros_(policy.heads.weight)
    torch.nn.init.zeros_(policy.heads.bias)
    output = policy(n=3, generator=seeded(2))
    nats = math.log(SearchSpace(2).cardinality)
    torch.testing.assert_close(output.entropy, torch.full((3,), nats))
    torch.testing.assert_close(output.log_prob, torch.full((3,), -nats))


@pytest.mark.parametrize("feedback", FEEDBACKS)
def test_draws_as_often_as_the_probabilities_say(feedback: Feedback) -> None:
    policy = make_policy(1, feedback, spread=40.0)
    with torch.no_grad():
        tokens = policy(n=4000, generator=seeded(3)).tokens
        everything = torch.tensor(list(itertools.product(*map(range, SearchSpace(1).token_sizes))))
        probability = policy(everything).log_prob.exp()
    assert probability.sum().item() == pytest.approx(1, abs=1e-4)
    for position, size in enumerate(SearchSpace(1).token_sizes):
        drawn = tokens[:, position].bincount(minlength=size) / len(tokens)
        expected = torch.zeros(size).index_add_(0, everything[:, position], probability)
        assert (drawn - expected).abs().max() < 0.03  # about four standard deviations


def test_only_token_feedback_makes_later_tokens_depend_on_earlier_ones() -> None:
    a, b = [0, 0, 0, 0, 0], [4, 0, 0, 0, 0]
    rest = [1, 2, 3, 4, 5]
    for feedback in FEEDBACKS:
        policy = make_policy(2, feedback, spread=20.0)
        first_layer = Policy(SearchSpace(1), seeded(0), feedback)
        first_layer.lstm, first_layer.start, first_layer.embedding = (
            policy.lstm,
            policy.start,
            policy.embedding,
        )
        first_layer.heads = policy.heads  # layer 0 and the shared heads come first in the matrix
        whole = policy(torch.tensor([a + rest, b + rest])).log_prob
        later = whole - first_layer(torch.tensor([a, b])).log_prob
        assert torch.allclose(later[0], later[1], atol=1e-4) == (feedback == "hidden")


def test_every_parameter_learns() -> None:
    for feedback in FEEDBACKS:
        policy = make_policy(2, feedback)
        output = policy(n=4, generator=seeded(4))
        (output.log_prob.sum() + output.entropy.sum()).backward()
        assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in policy.parameters())


def test_refuses_what_it_cannot_do() -> None:
    policy = make_policy(1)
    with pytest.raises(ValueError, match="generator"):
        policy(n=2)
    with pytest.raises(ValueError, match=r"expected \(N, 5\)"):
        policy(torch.zeros(2, 4, dtype=torch.int64))
    with pytest.raises(ValueError, match="feedback"):
        Policy(SearchSpace(1), seeded(0), "none")  # type: ignore[arg-type]


def make_masked(layers: int, feedback: Feedback) -> tuple[Policy, SearchSpace]:
    space = SearchSpace(layers, 64, STREAMING)
    policy = Policy(space, seeded(0), feedback)
    with torch.no_grad():
        policy.heads.weight.mul_(20.0)
    return policy, space


def all_strings(space: SearchSpace) -> list[tuple[int, ...]]:
    """Every string that the space allows."""
    strings: list[tuple[int, ...]] = [()]
    for _ in range(space.num_tokens):
        strings = [(*string, value) for string in strings for value in space.allowed(string)]
    return strings


@pytest.mark.parametrize("feedback", FEEDBACKS)
def test_a_masked_policy_emits_what_is_allowed_and_nothing_else(feedback: Feedback) -> None:
    policy, space = make_masked(3, feedback)
    with torch.no_grad():
        sampled = policy(n=300, generator=seeded(1))
        rescored = policy(sampled.tokens)
    for tokens in sampled.tokens.tolist():
        assert list(space.genotype(tokens).tokens) == tokens  # which refuses what is not allowed
    assert {tokens[0] for tokens in sampled.tokens.tolist()} == {0, 1, 2}
    torch.testing.assert_close(rescored.log_prob, sampled.log_prob)
    torch.testing.assert_close(rescored.entropy, sampled.entropy)


@pytest.mark.parametrize("feedback", FEEDBACKS)
def test_masked_probabilities_sum_to_one_and_their_entropy_is_that_of_the_strings(feedback: Feedback) -> None:
    policy, space = make_masked(1, feedback)
    strings = torch.tensor(all_strings(space))
    assert len(strings) == space.cardinality
    with torch.no_grad():
        output = policy(strings)
    probability = output.log_prob.double().exp()
    assert probability.sum().item() == pytest.approx(1, abs=1e-4)
    # The entropy of a string is the sum over its tokens given those before; its mean is that of the distribution.
    entropy = -(probability * output.log_prob).sum()
    assert (probability * output.entropy).sum().item() == pytest.approx(entropy.item(), rel=1e-4)


def test_a_string_that_is_not_allowed_has_no_probability() -> None:
    policy, space = make_masked(1, "hidden")
    layer3 = STREAMING.inputs.index("layer3")
    assert layer3 in space.allowed([1])
    assert layer3 not in space.allowed([0])
    tokens = torch.tensor([[0, layer3, 1, 0, 0, 0], [1, layer3, 1, 0, 0, 0]])
    out, inside = policy(tokens).log_prob.exp().tolist()
    assert out == 0 < inside


@pytest.mark.parametrize("feedback", FEEDBACKS)
def test_masked_gradients_are_finite_and_reach_every_parameter(feedback: Feedback) -> None:
    policy, _ = make_masked(2, feedback)
    output = policy(n=8, generator=seeded(4))
    (output.log_prob.sum() + output.entropy.sum()).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() and p.grad.any() for p in policy.parameters())
