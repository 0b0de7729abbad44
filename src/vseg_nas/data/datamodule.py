"""Loaders of clips whose order and augmentation are functions of the seed and the epoch alone."""

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

_LOADERS = 2  # of a data module
_SEMAPHORES = 5  # at most, of a loader process or of what its parent shares with all of them

logger = logging.getLogger(__name__)


class Draw(NamedTuple):
    """One element of an epoch: which clip, and the seed of its augmentation."""

    clip: int
    seed: int


class ClipDataset(Dataset[Clip]):
    """Reads and transforms the clip that a `Draw` names.

    The seed travels with the index, so nothing depends on which worker serves a clip, on how many there are
    or on the epoch that a run was resumed at, and no two workers can share a stream.
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
    """Draws for one epoch, a pure function of (indices, seed, epoch).

    Args:
        indices: Clips to serve.
        seed: Seed of order and augmentation.
        shuffle: Whether the order changes with the epoch.
    """

    def __init__(self, indices: Sequence[int], seed: int, shuffle: bool) -> None:
        self._indices = tuple(indices)
        self._seed = seed
        self._shuffle = shuffle
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch (counted from 0) of the next iteration; Lightning does so before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self._indices)

    def __iter__(self) -> Iterator[Draw]:
        rng = np.random.default_rng((self._seed, self.epoch))
        order = rng.permutation(len(self)) if self._shuffle else np.arange(len(self))
        seeds = rng.integers(2**32, size=len(self))
        return (Draw(self._indices[i], int(seed)) for i, seed in zip(order, seeds, strict=True))


class RankBatches(Sampler[list[Draw]]):
    """The batches of an epoch, shared among ranks that train together: all of theirs are those of one that is alone.

    Args:
        sampler: Draws of the whole epoch.
        batch_size: Draws a batch, of all ranks together.
        drop_last: Drop a last batch that is not full.
        rank: Which of the ranks this is.
        ranks: How many there are.
        whole: Whether the ranks take turns with whole batches, rather than each a share of every batch.
    """

    def __init__(
        self, sampler: EpochSampler, batch_size: int, drop_last: bool, rank: int, ranks: int, whole: bool
    ) -> None:
        self.sampler = sampler  # Lightning tells it the epoch
        self._size = batch_size
        self._stop = len(sampler) - len(sampler) % batch_size if drop_last else len(sampler)
        self._rank = rank
        self._ranks = ranks
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
        return starts[self._rank :: self._ranks] if self._whole else starts

    def _share(self, batch: list[Draw]) -> list[Draw]:
        return batch[self._rank * len(batch) // self._ranks : (self._rank + 1) * len(batch) // self._ranks]


class _Sent:
    """A batch on its way from a loader process, where it arrives as a `ClipBatch`.

    Tensors are handed over in shared memory while there is some, else byte by byte. This is tried before the batch is
    given to the queue between the processes: what fails in that is printed and forgotten, and the fit waits for ever.
    """

    def __init__(self, batch: ClipBatch) -> None:
        self._rebuilt: tuple[Callable[..., ClipBatch], tuple[Any, ...]]
        try:
            self._rebuilt = pickle.loads, (bytes(ForkingPickler.dumps(batch)),)
        except (OSError, RuntimeError):  # no shared memory, no descriptor, no folder for a socket
            self._rebuilt = _unshared, (batch.frames.numpy(), batch.masks.numpy(), batch.names)

    def __reduce__(self) -> tuple[Callable[..., ClipBatch], tuple[Any, ...]]:
        return self._rebuilt


def _unshared(frames: NDArray[Any], masks: NDArray[Any], names: list[tuple[str, ...]]) -> ClipBatch:
    return ClipBatch(torch.from_numpy(frames), torch.from_numpy(masks), names)


def _collate(clips: Sequence[Clip]) -> ClipBatch | _Sent:
    batch = collate(clips)
    return batch if get_worker_info() is None else _Sent(batch)


def _usable_workers(wanted: int) -> int:
    """As many loader processes as wanted, if there can be any: they need semaphores, which lie in shared memory."""
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
        train: Clips to train on.
        val: Clips to validate on; the same source where the two are a meta split.
        train_transform: Transform of the training clips.
        val_transform: Transform of the validation clips; batches larger than one need clips of one size.
        batch_size: Training clips per batch, of all ranks together.
        val_batch_size: Validation clips per batch; the last batch is kept, however small.
        train_indices: Which clips of `train`; None means all.
        val_indices: Which clips of `val`; None means all.
        num_workers: Loader processes per loader; 0 loads in this one, as is done where no shared memory is to be had.
            Any number gives the same batches.
        seed: Seed of order and augmentation.
        drop_last: Drop a last training batch that is not full (batch norm may not like a single clip).
        rank: Which of the processes that train together this is.
        ranks: How many there are.

    Raises:
        DataError: There is nothing to train or validate on, or less than one clip for every rank.
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
        ranks: int = 1,
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
        self._ranks = ranks
        self._first_epoch = 0
        least = batch_size if drop_last else ranks
        if len(self._train_indices) < least:
            raise DataError(f"training data: found {len(self._train_indices)} clips, expected at least {least}")
        least = (ranks - 1) * val_batch_size + 1  # a rank without any would not validate at all
        if len(self._val_indices) < least:
            raise DataError(f"validation data: found {len(self._val_indices)} clips, expected at least {least}")

    def train_dataloader(self) -> DataLoader[Clip]:
        """Batches in an order that changes with the epoch."""
        sampler = EpochSampler(self._train_indices, self._seed, shuffle=True)
        sampler.set_epoch(self._first_epoch)
        return self._loader(self._train, self._batches(sampler, self._batch_size, self._drop_last, whole=False))

    def val_dataloader(self) -> DataLoader[Clip]:
        """Batches in stored order."""
        sampler = EpochSampler(self._val_indices, self._seed, shuffle=False)
        return self._loader(self._val, self._batches(sampler, self._val_batch_size, drop_last=False, whole=True))

    def state_dict(self) -> dict[str, int]:
        """For checkpoints: the epochs done. A resumed fit starts the workers before it tells the sampler its epoch."""
        assert self.trainer is not None
        return {"epoch": self.trainer.fit_loop.epoch_progress.current.processed}  # type: ignore[attr-defined]

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Starts the next loader of training clips at the epoch of the checkpoint."""
        self._first_epoch = state_dict["epoch"]

    def _batches(self, sampler: EpochSampler, batch_size: int, drop_last: bool, whole: bool) -> RankBatches:
        return RankBatches(sampler, batch_size, drop_last, self._rank, self._ranks, whole)

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
