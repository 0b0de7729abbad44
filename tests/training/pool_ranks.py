"""Run by test_collectives.py: global pools in processes that meet over gloo, each with its share of the frames.

The processes are forked by one that has computed nothing, since autograd works in no fork of one in which it has begun
to use threads.
"""

import os
import sys
from datetime import timedelta
from pathlib import Path

import torch

from tests.processes import status_of
from vseg_nas.models.layers import GlobalAveragePool
from vseg_nas.training.collectives import _SynchronisedBatchNorms


def seeded_pool() -> GlobalAveragePool:
    torch.manual_seed(0)
    return GlobalAveragePool(4)


def pool(rank: int, ranks: int, folder: Path) -> None:
    """Writes output, gradients and statistics of a pool with this rank's share."""
    torch.set_num_threads(1)
    torch.distributed.init_process_group(
        "gloo", f"file://{folder}/meet", timeout=timedelta(seconds=30), rank=rank, world_size=ranks
    )
    pool = _SynchronisedBatchNorms().apply(seeded_pool())
    own, pull = torch.load(folder / f"share{rank}.pt", weights_only=True)
    output = pool(own.requires_grad_())
    (output * pull).sum().backward()
    weight = pool.get_parameter("norm.weight").grad
    assert weight is not None
    statistics = pool.get_buffer("norm.running_mean"), pool.get_buffer("norm.running_var")
    torch.save([output.detach(), own.grad, weight, *statistics], folder / f"found{rank}.pt")
    torch.distributed.destroy_process_group()


def main() -> None:
    """Runs a rank for each share in a folder."""
    folder = Path(sys.argv[1])
    ranks = len(list(folder.glob("share*.pt")))
    children = []
    for rank in range(ranks):
        child = os.fork()
        if child == 0:
            pool(rank, ranks, folder)
            os._exit(0)
        children.append(child)
    assert [status_of(child) for child in children] == [0] * ranks
