"""What ranks compute together equals what one process computes on all of it; here two threads are the ranks.

Legend: B frames, C channels.
"""

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.processes import run
from tests.training.pool_ranks import seeded_pool
from vseg_nas.models.layers import PooledBatchNorm
from vseg_nas.training import collectives, losses
from vseg_nas.training.collectives import SynchronisedBatchNorm, _SynchronisedBatchNorms, options_of
from vseg_nas.training.losses import segmentation_loss
from vseg_nas.training.ranks import Rank

RANKS = 2
Together = Callable[[Callable[[int], Any]], list[Any]]


@pytest.fixture
def together(monkeypatch: pytest.MonkeyPatch) -> Together:
    """Runs a function of the rank in two threads that meet in every sum."""
    here, barrier, slots = threading.local(), threading.Barrier(RANKS, timeout=30), [torch.empty(0)] * RANKS

    def summed(values: Tensor) -> Tensor:
        slots[here.rank] = values
        barrier.wait()
        total = torch.stack(slots).sum(0)
        barrier.wait()
        return total

    for module in (collectives, losses):
        monkeypatch.setattr(module, "world_size", lambda: RANKS)
        monkeypatch.setattr(module, "summed", summed)
    monkeypatch.setattr(torch.distributed, "get_rank", lambda: here.rank)

    def run(function: Callable[[int], Any]) -> list[Any]:
        def in_thread(rank: int) -> Any:
            here.rank = rank
            return function(rank)

        with ThreadPoolExecutor(RANKS) as pool:
            return list(pool.map(in_thread, range(RANKS)))

    return run


def test_batch_norm_sees_the_frames_of_all_ranks(together: Together) -> None:
    """Against torch's own on the whole batch; the shares differ in size."""
    generator = torch.Generator().manual_seed(0)
    frames = torch.randn(5, 4, 3, 2, generator=generator) * 3 + 100  # E[x^2] - E[x]^2 would not do
    pull = torch.randn(5, 4, 3, 2, generator=generator)
    weight, bias = torch.randn(2, 4, generator=generator)
    norms: list[nn.BatchNorm2d] = [nn.BatchNorm2d(4), *(SynchronisedBatchNorm(4) for _ in range(RANKS))]
    for norm in norms:
        norm.weight.data, norm.bias.data = weight.clone(), bias.clone()
    whole, *others = norms
    inputs = frames.clone().requires_grad_()
    expected = whole(inputs)
    (expected * pull).sum().backward()
    shares = (slice(0, 3), slice(3, 5))

    def share(rank: int) -> tuple[Tensor, Tensor]:
        own = frames[shares[rank]].clone().requires_grad_()
        output = others[rank](own)
        (output * pull[shares[rank]]).sum().backward()
        assert own.grad is not None
        return output.detach(), own.grad

    outputs, gradients = zip(*together(share), strict=True)
    close: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(torch.cat(outputs), expected.detach(), **close)
    assert inputs.grad is not None
    torch.testing.assert_close(torch.cat(gradients), inputs.grad, **close)
    for name in ("weight", "bias"):
        parts = [getattr(norm, name).grad for norm in others]
        torch.testing.assert_close(parts[0] + parts[1], getattr(whole, name).grad, **close)
    for norm in others:
        for name, value in whole.named_buffers():
            torch.testing.assert_close(norm.get_buffer(name), value, rtol=1e-5, atol=1e-5)


def test_batch_norm_in_evaluation_or_alone_is_torchs_own(together: Together) -> None:
    frames = torch.randn(2, 3, 4, 4)
    torch.manual_seed(0)
    ours, torchs = SynchronisedBatchNorm(3), nn.BatchNorm2d(3)
    ours.running_mean, torchs.running_mean = torch.ones(3), torch.ones(3)
    expected = torchs.eval()(frames)
    assert all(torch.equal(output, expected) for output in together(lambda _: ours.eval()(frames)))
    ours.train()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(collectives, "world_size", lambda: 1)
        assert torch.equal(ours(frames), torchs.train()(frames))
    assert all(torch.equal(ours.get_buffer(name), value) for name, value in torchs.named_buffers())


def test_the_mean_of_losses_over_ranks_is_the_loss_over_all_pixels(together: Together) -> None:
    """However unevenly labelled pixels are shared."""
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(4, 3, 5, 6, generator=generator)
    masks = torch.randint(3, (4, 5, 6), generator=generator)
    masks[:2, 1:] = 255
    labelled = masks != 255
    log_p = logits.log_softmax(1).movedim(1, -1)[labelled]
    expected = -log_p.gather(1, masks[labelled][:, None]).mean()
    parts = together(lambda rank: segmentation_loss(logits[2 * rank : 2 * rank + 2], masks[2 * rank : 2 * rank + 2]))
    assert parts[0] != parts[1]
    torch.testing.assert_close((parts[0] + parts[1]) / 2, expected)
    masks[:2] = 255
    nothing, all_of_it = together(
        lambda rank: segmentation_loss(logits[2 * rank : 2 * rank + 2], masks[2 * rank : 2 * rank + 2])
    )
    assert nothing == 0
    assert all_of_it > 0


def test_batch_norms_change_for_the_fit_and_back() -> None:
    sync = options_of(Rank(0, 2, 1))["plugins"][1]
    model = nn.Sequential(nn.Conv2d(1, 2, 1), nn.Sequential(nn.BatchNorm2d(2)))
    parameters, state = list(model.parameters()), list(model.state_dict())
    assert sync.apply(model) is model
    assert type(model[1][0]) is SynchronisedBatchNorm
    assert all(a is b for a, b in zip(model.parameters(), parameters, strict=True))
    assert list(model.state_dict()) == state
    sync.revert(model)
    assert type(model[1][0]) is nn.BatchNorm2d


@pytest.mark.long
@pytest.mark.parametrize("counts", [(1, 1), (1, 2), (3, 1)])
def test_global_pools_see_the_clips_of_all_ranks(counts: tuple[int, int], tmp_path: Path) -> None:
    """Two processes over gloo against one device; a rank with one clip neither stands aside nor goes on alone."""
    generator = torch.Generator().manual_seed(1)
    frames, pulls = (torch.randn(sum(counts), 4, 3, 5, generator=generator) for _ in range(2))
    whole, inputs = seeded_pool(), frames.clone().requires_grad_()
    expected = whole(inputs)
    (expected * pulls).sum().backward()
    for rank, share in enumerate(zip(torch.split(frames, list(counts)), torch.split(pulls, list(counts)), strict=True)):
        torch.save([part.clone() for part in share], tmp_path / f"share{rank}.pt")
    done = run("tests.training.pool_ranks", str(tmp_path))
    assert done.returncode == 0, done.stderr
    found = [torch.load(tmp_path / f"found{rank}.pt", weights_only=True) for rank in range(RANKS)]
    outputs, gradients, weights, means, variances = zip(*found, strict=True)
    close: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}
    assert inputs.grad is not None
    torch.testing.assert_close(torch.cat(outputs), expected.detach(), **close)
    torch.testing.assert_close(torch.cat(gradients), inputs.grad, **close)
    torch.testing.assert_close(sum(weights), whole.get_parameter("norm.weight").grad, **close)
    for mean, variance in zip(means, variances, strict=True):
        torch.testing.assert_close(mean, whole.get_buffer("norm.running_mean"), **close)
        torch.testing.assert_close(variance, whole.get_buffer("norm.running_var"), **close)


def test_a_single_clip_on_a_single_device_keeps_the_statistics() -> None:
    pool = seeded_pool()
    before = {name: value.clone() for name, value in pool.named_buffers()}
    pool(torch.randn(1, 4, 3, 5))
    assert all(torch.equal(value, before[name]) for name, value in pool.named_buffers())
    changed = _SynchronisedBatchNorms().apply(seeded_pool())
    torch.testing.assert_close(changed(torch.ones(1, 4, 3, 5)), seeded_pool()(torch.ones(1, 4, 3, 5)))
    assert type(_SynchronisedBatchNorms().revert(changed).get_submodule("norm")) is PooledBatchNorm
