"""Collective operations of the ranks, by which many devices train the same network as one device would.

Legend: R ranks, B frames, C channels, H, W.
"""

from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist
from pytorch_lightning.plugins.environments import LightningEnvironment  # type: ignore[attr-defined]
from pytorch_lightning.plugins.layer_sync import LayerSync
from pytorch_lightning.strategies import DDPStrategy
from torch import Tensor, nn

from vseg_nas.models.layers import PooledBatchNorm
from vseg_nas.training.ranks import Rank

_TIMEOUT = timedelta(minutes=10)  # of a rank that hangs; a rank that dies is noticed at once


def world_size() -> int:
    """Returns R, the number of processes that train together; 1 outside of such a training."""
    return dist.get_world_size() if dist.is_initialized() else 1


def summed(values: Tensor) -> Tensor:
    """Returns the sum of ``values`` over all ranks, on each of them; no gradient flows."""
    if world_size() == 1:
        return values
    values = values.clone()
    dist.all_reduce(values)
    return values


class _Summed(torch.autograd.Function):
    """The sum over all ranks, whose gradient is the sum of the ranks' gradients."""

    @staticmethod
    def forward(_: Any, values: Tensor) -> Tensor:
        return summed(values)

    @staticmethod
    def backward(_: Any, *gradients: Tensor) -> Tensor:
        return summed(gradients[0].contiguous())


class SynchronisedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the batches of all ranks; torch's own `SyncBatchNorm` only works on CUDA devices.

    Rank r has n_r values per channel, with mean m_r and variance v_r. With N = sum n_r (Chan et al.):
    m = sum n_r m_r / N and v = sum n_r (v_r + (m_r - m)^2) / N.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Maps (B, C, H, W) to (B, C, H, W)."""
        if not self.training or world_size() == 1:
            return super().forward(x)
        values = x.float()
        own = torch.cat([*torch.var_mean(values, (0, 2, 3), correction=0), values.new_tensor([values[:, 0].numel()])])
        rows = [own if rank == dist.get_rank() else torch.zeros_like(own) for rank in range(world_size())]
        table: Tensor = _Summed.apply(torch.stack(rows))
        variances, means, counts = table.split((self.num_features, self.num_features, 1), 1)  # type: ignore[no-untyped-call]
        shares = counts / counts.sum()
        mean = (shares * means).sum(0)
        variance = (shares * (variances + (means - mean) ** 2)).sum(0)
        self._track(mean.detach(), variance.detach(), counts.sum())
        scale = self.weight / (variance + self.eps).sqrt()
        centred = values - mean[:, None, None]
        normalised: Tensor = centred * scale[:, None, None] + self.bias[:, None, None]
        return normalised.to(x.dtype)

    def _track(self, mean: Tensor, variance: Tensor, count: Tensor) -> None:
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        assert self.momentum is not None
        self.num_batches_tracked.add_(1)
        self.running_mean.lerp_(mean, self.momentum)
        self.running_var.lerp_(variance * count / (count - 1), self.momentum)


class SynchronisedPooledBatchNorm(SynchronisedBatchNorm, PooledBatchNorm):
    """A `PooledBatchNorm` over the items of all ranks. Each rank has at least one, so there always is a variance.

    What a rank does must not depend on its own share: if one of them left out a sum, the others would wait for ever.
    """


_SYNCHRONISED: dict[type[nn.Module], type[nn.Module]] = {
    nn.BatchNorm2d: SynchronisedBatchNorm,
    PooledBatchNorm: SynchronisedPooledBatchNorm,
}


class _SynchronisedBatchNorms(LayerSync):
    """Turns every batch norm of a model into a synchronised one while it is fitted."""

    def apply(self, model: nn.Module) -> nn.Module:
        return self._change(model, _SYNCHRONISED)

    def revert(self, model: nn.Module) -> nn.Module:
        return self._change(model, {new: old for old, new in _SYNCHRONISED.items()})

    def _change(self, model: nn.Module, kinds: dict[type[nn.Module], type[nn.Module]]) -> nn.Module:
        for module in model.modules():
            # The class is changed in place, because optimisers hold the parameters of the module.
            module.__class__ = kinds.get(type(module), type(module))
        return model


class _Environment(LightningEnvironment):
    """Tells Lightning the rank of this process, and that it need not start processes itself."""

    def __init__(self, rank: Rank) -> None:
        super().__init__()
        self._rank = rank

    @property
    def creates_processes_externally(self) -> bool:
        return True

    @property
    def main_address(self) -> str:
        return "127.0.0.1"

    @property
    def main_port(self) -> int:
        return self._rank.port

    def local_rank(self) -> int:
        return self._rank.index

    def node_rank(self) -> int:
        return 0


def options_of(rank: Rank) -> dict[str, Any]:
    """Returns the arguments of the Trainer of one of several ranks."""
    return {
        "devices": rank.world_size,
        # No loss reads all parameters of the static network. Buffers are equal on all ranks without being sent, and a
        # rank with fewer validation clips than another must not wait for it.
        "strategy": DDPStrategy(find_unused_parameters=True, broadcast_buffers=False, timeout=_TIMEOUT),
        "plugins": [_Environment(rank), _SynchronisedBatchNorms()],
        "use_distributed_sampler": False,  # `RankBatches` divides the batches already
    }
