"""Loaders of clips. Their order and augmentation depend on the seed and the epoch, and on nothing else.

So a resumed training sees the same batches, with any number of loader processes and of devices.
"""

import logging
import multiprocessing
import pickle
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.reduction import ForkingPickler
from typing import Any, NamedTuple

import numpy as np
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch.utils.data import DataLoader, Dataset, Sampler, get_worker_info

from vseg_nas.data.clip import Clip, ClipBatch, ClipSource, collate
from vseg_nas.data.transforms import ClipTransform
from vseg_nas.errors import DataError

_LOADERS = 2  # one for training, one for validation
_SEMAPHORES = 5  # the most that a loader process needs, and the most that its parent shares with all of them

logger = logging.getLogger(__name__)


class Draw(NamedTuple):
    """One element of an epoch: the index of a clip and the seed of its augmentation."""

    clip: int
    seed: int


class ClipDataset(Dataset[Clip]):
    """Reads and transforms the clip of a `Draw`.

    The seed comes with the index. So the result depends neither on the loader process that serves a clip nor on their
    number nor on the epoch of a resume, and no two processes can draw the same random numbers.
    """

    def __init__(self, source: ClipSource, transform: ClipTransform) -> None:
        self._source = source
        self._transform = transform

    def __len__(self) -> int:
        return len(self._source)

    def __getitem__(self, draw: Draw) -> Clip:
        self._transform.set_seed(draw.seed)
        return self._transform(self._source[draw.clip])


class EpochSampler(Sampler[Draw]):
    """Yields the draws of one epoch, as a pure function of (indices, seed, epoch).

    Args:
        indices: The indices of the clips to serve.
        seed: The seed of order and augmentation.
        shuffle: Whether the order is random and changes with the epoch.
    """

    def __init__(self, indices: Sequence[int], seed: int, shuffle: bool) -> None:
        self._indices = tuple(indices)
        self._seed = seed
        self._shuffle = shuffle
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Sets the epoch (counted from 0) of the next iteration; Lightning calls this before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[Draw]:
        rng = np.random.default_rng((self._seed, self.epoch))
        order = rng.permutation(len(self)) if self._shuffle else np.arange(len(self))
        seeds = rng.integers(2**32, size=len(self))
        return (Draw(self._indices[i], int(seed)) for i, seed in zip(order, seeds, strict=True))


class RankBatches(Sampler[list[Draw]]):
    """The share of one rank in the batches of an epoch; all ranks together get the batches of a single process.

    Args:
        sampler: Yields the draws of the whole epoch.
        batch_size: The number of draws in a batch of all ranks together.
        drop_last: Whether a last batch that is not full is dropped.
        rank: The rank of this process, from 0 on.
        world_size: The number of processes that train together.
        whole: Whether the ranks take whole batches in turn; otherwise each takes its share of every batch.
    """

    def __init__(
        self, sampler: EpochSampler, batch_size: int, drop_last: bool, rank: int, world_size: int, whole: bool
    ) -> None:
        self.sampler = sampler  # public under this name, since Lightning sets its epoch
        self._size = batch_size
        self._stop = len(sampler) - len(sampler) % batch_size if drop_last else len(sampler)
        self._rank = rank
        self._world_size = world_size
        self._whole = whole

    def __len__(self) -> int:
        return len(self._starts())

    def __iter__(self) -> Iterator[list[Draw]]:
        draws = list(self.sampler)[: self._stop]
        for start in self._starts():
            batch = draws[start : start + self._size]
            yield batch if self._whole else self._share(batch)

    def _starts(self) -> range:
        starts = range(0, self._stop, self._size)
        return starts[self._rank :: self._world_size] if self._whole else starts

    def _share(self, batch: list[Draw]) -> list[Draw]:
        # These bounds divide a batch into successive shares whose sizes differ by at most one.
        return batch[self._rank * len(batch) // self._world_size : (self._rank + 1) * len(batch) // self._world_size]


class _SentBatch:
    """A batch that a loader process sends to its parent, where it arrives as a `ClipBatch`.

    Tensors are passed in shared memory if there is enough of it, and byte by byte otherwise. This is tried before the
    batch is put into the queue between the processes: an error inside the queue is only printed, and the fit would
    wait for the batch for ever.
    """

    def __init__(self, batch: ClipBatch) -> None:
        self._rebuilt: tuple[Callable[..., ClipBatch], tuple[Any, ...]]
        try:
            self._rebuilt = pickle.loads, (bytes(ForkingPickler.dumps(batch)),)
        except (OSError, RuntimeError):  # no shared memory, no descriptor, no folder for a socket
            self._rebuilt = _from_arrays, (batch.frames.numpy(), batch.masks.numpy(), batch.names)

    def __reduce__(self) -> tuple[Callable[..., ClipBatch], tuple[Any, ...]]:
        return self._rebuilt


def _from_arrays(frames: NDArray[Any], masks: NDArray[Any], names: list[tuple[str, ...]]) -> ClipBatch:
    return ClipBatch(torch.from_numpy(frames), torch.from_numpy(masks), names)


def _collate(clips: Sequence[Clip]) -> ClipBatch | _SentBatch:
    batch = collate(clips)
    return batch if get_worker_info() is None else _SentBatch(batch)


def _usable_workers(wanted: int) -> int:
    """Returns the wanted number of loader processes, or 0 if there is no shared memory for their semaphores."""
    if wanted:
        try:
            held = [multiprocessing.Semaphore() for _ in range(_LOADERS * (wanted + 1) * _SEMAPHORES)]
            held.clear()
        except OSError as error:
            logger.warning(
                "gpu.workers: found %d, used 0: /dev/shm gives no semaphores (%s); the batches are the same",
                *(wanted, error.strerror),
            )
            return 0
    return wanted


class ClipDataModule(pl.LightningDataModule):
    """Serves batches of T-frame clips (T = 1: single frames) for training and validation.

    Args:
        train: The clips to train on.
        val: The clips to validate on; the same source as `train` if the two are a meta split.
        train_transform: The transform of the training clips.
        val_transform: The transform of the validation clips; batches of several clips need clips of one size.
        batch_size: The number of training clips in a batch of all ranks together.
        val_batch_size: The number of validation clips in a batch; the last batch is kept, however small.
        train_indices: The indices of the training clips in `train`; None means all.
        val_indices: The indices of the validation clips in `val`; None means all.
        num_workers: The number of processes of each loader; 0 loads in this process, which also happens where there is
            no shared memory. The batches are the same for every number.
        seed: The seed of order and augmentation.
        drop_last: Whether a last training batch that is not full is dropped; batch norm cannot train on a single value.
        rank: The rank of this process, from 0 on.
        world_size: The number of processes that train together.

    Raises:
        DataError: There are no clips to train or validate on, or fewer than one for every rank.
    """

    def __init__(
        self,
        train: ClipSource,
        val: ClipSource,
        train_transform: ClipTransform,
        val_transform: ClipTransform,
        batch_size: int,
        val_batch_size: int = 1,
        train_indices: Sequence[int] | None = None,
        val_indices: Sequence[int] | None = None,
        num_workers: int = 0,
        seed: int = 0,
        drop_last: bool = False,
        rank: int = 0,
        world_size: int = 1,
    ) -> None:
        super().__init__()
        self._train = ClipDataset(train, train_transform)
        self._val = ClipDataset(val, val_transform)
        self._train_indices = range(len(train)) if train_indices is None else train_indices
        self._val_indices = range(len(val)) if val_indices is None else val_indices
        self._batch_size = batch_size
        self._val_batch_size = val_batch_size
        self._num_workers = _usable_workers(num_workers)
        self._seed = seed
        self._drop_last = drop_last
        self._rank = rank
        self._world_size = world_size
        self._first_epoch = 0
        least = batch_size if drop_last else world_size
        if len(self._train_indices) < least:
            raise DataError(f"training data: found {len(self._train_indices)} clips, expected at least {least}")
        least = (world_size - 1) * val_batch_size + 1  # each rank needs a batch, or it would not validate at all
        if len(self._val_indices) < least:
            raise DataError(f"validation data: found {len(self._val_indices)} clips, expected at least {least}")

    def train_dataloader(self) -> DataLoader[Clip]:
        """Returns a loader of the training clips, in an order that changes with the epoch."""
        sampler = EpochSampler(self._train_indices, self._seed, shuffle=True)
        sampler.set_epoch(self._first_epoch)
        return self._loader(self._train, self._batches(sampler, self._batch_size, self._drop_last, whole=False))

    def val_dataloader(self) -> DataLoader[Clip]:
        """Returns a loader of the validation clips, in their stored order."""
        sampler = EpochSampler(self._val_indices, self._seed, shuffle=False)
        return self._loader(self._val, self._batches(sampler, self._val_batch_size, drop_last=False, whole=True))

    def state_dict(self) -> dict[str, int]:
        """Returns the number of finished epochs, for checkpoints.

        A resumed fit starts the loader processes before it sets the epoch of the sampler, so the epoch is stored here.
        """
        assert self.trainer is not None
        return {"epoch": self.trainer.fit_loop.epoch_progress.current.processed}  # type: ignore[attr-defined]

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Makes the next loader of training clips start at the epoch of the checkpoint."""
        self._first_epoch = state_dict["epoch"]

    def _batches(self, sampler: EpochSampler, batch_size: int, drop_last: bool, whole: bool) -> RankBatches:
        return RankBatches(sampler, batch_size, drop_last, self._rank, self._world_size, whole)

    def _loader(self, dataset: ClipDataset, batches: RankBatches) -> DataLoader[Clip]:
        return DataLoader(
            dataset,
            batch_sampler=batches,
            collate_fn=_collate,
            num_workers=self._num_workers,
            persistent_workers=self._num_workers > 0,
            pin_memory=torch.cuda.is_available(),
            generator=torch.Generator().manual_seed(self._seed),
        )
