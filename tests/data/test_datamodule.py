"""Loaders: what they serve is a function of seed and epoch, whoever loads it, wherever a run resumes."""

import ctypes
import errno
import multiprocessing.reduction
import os
import signal
import tempfile
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn

from vseg_nas.data import CamVid, ClipBatch, resized, training
from vseg_nas.data.datamodule import ClipDataModule, RankBatches
from vseg_nas.errors import DataError

Stream = list[tuple[list[tuple[str, ...]], Tensor]]


def module(source: Any, **kwargs: Any) -> ClipDataModule:
    options: dict[str, Any] = {
        "batch_size": 4,
        "train_transform": training((8, 8), (0.5, 2.0), jitter=0.5),
        "val_transform": resized(),
    }
    return ClipDataModule(source, source, **(options | kwargs))


def epochs(data: ClipDataModule, numbers: tuple[int, ...]) -> Iterator[Stream]:
    loader = data.train_dataloader()
    for epoch in numbers:
        assert isinstance(loader.batch_sampler, RankBatches)
        loader.batch_sampler.sampler.set_epoch(epoch)
        yield [(batch.names, batch.frames) for batch in loader]


def same(one: Stream, other: Stream) -> bool:
    return all(a == c and torch.equal(b, d) for (a, b), (c, d) in zip(one, other, strict=True))


def test_two_workers_serve_what_none_would(made_up: Any) -> None:
    source = made_up([14])  # 12 clips of equal content, so only the draws can differ
    alone = list(epochs(module(source, seed=5), (0, 1)))
    shared = list(epochs(module(source, seed=5, num_workers=2), (0, 1)))
    assert same(alone[0], shared[0])
    assert same(alone[1], shared[1])


def unavailable(*arguments: object) -> Any:
    raise RuntimeError("unable to allocate shared memory(shm) for file </torch_1>: No space left on device (28)")


def out_of_descriptors(*arguments: object) -> Any:
    raise OSError(errno.EMFILE, "Too many open files")


def no_folder(*arguments: object, **options: object) -> Any:
    raise FileNotFoundError(errno.ENOENT, "No usable temporary directory found")


@pytest.mark.parametrize(
    ("of", "name", "failing"),
    [
        (torch.UntypedStorage, "_share_fd_cpu_", unavailable),
        (multiprocessing.reduction, "DupFd", out_of_descriptors),
        (tempfile, "mktemp", no_folder),  # of the socket that hands descriptors over
    ],
)
@pytest.mark.timeout(60)
def test_loader_processes_do_without_shared_memory(
    made_up: Any, monkeypatch: pytest.MonkeyPatch, of: object, name: str, failing: Callable[..., Any]
) -> None:
    data = module(made_up([9]), seed=5, num_workers=2)
    alone = list(epochs(module(made_up([9]), seed=5), (0,)))
    monkeypatch.setattr(of, name, failing)
    shared = list(epochs(data, (0,)))
    assert same(alone[0], shared[0])


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EROFS, "Read-only file system"),
        OSError(errno.ENOSPC, "No space left on device"),
        OSError(errno.ENOSYS, "Function not implemented"),
    ],
)
def test_without_semaphores_clips_are_loaded_in_this_process(
    made_up: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, error: OSError
) -> None:
    monkeypatch.setattr(multiprocessing, "Semaphore", Mock(side_effect=error))
    data = module(made_up([9]), num_workers=2)
    assert data.train_dataloader().num_workers == data.val_dataloader().num_workers == 0
    assert caplog.messages == [
        f"gpu.workers: found 2, used 0: /dev/shm gives no semaphores ({error.strerror}); the batches are the same"
    ]


@pytest.mark.parametrize("options", ["size=4k", "size=64k", "ro"])
def test_a_full_or_read_only_shared_memory_changes_no_batch(made_up: Any, options: str) -> None:
    source = made_up([14], size=(64, 64))  # a batch of four takes 150 KiB
    alone = list(epochs(module(source, seed=5, train_transform=resized()), (0,)))
    child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(60)  # a batch that does not arrive is waited for for ever
            torch.set_num_threads(1)  # those of the parent are not there
            if not mounted(options):
                os._exit(9)
            shared = list(epochs(module(source, seed=5, train_transform=resized(), num_workers=2), (0,)))
            os._exit(0 if same(alone[0], shared[0]) else 1)
        except BaseException:  # noqa: BLE001  (whatever it is, the fork must not go on with the tests of its parent)
            traceback.print_exc()
            os._exit(2)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if status == 9:
        pytest.skip("mounting is not permitted")
    assert status == 0


def mounted(options: str) -> bool:
    """Gives this process alone a small or read-only folder for shared memory."""
    system = ctypes.CDLL(None)
    private = system.unshare(0x20000) == 0 and system.mount(b"none", b"/", None, 0x44000, None) == 0
    read_only = int(options == "ro")
    size = None if read_only else options.encode()
    return bool(private and system.mount(b"tmpfs", b"/dev/shm", b"tmpfs", read_only, size) == 0)


def test_workers_and_epochs_draw_different_streams(made_up: Any) -> None:
    data = module(made_up([14]), num_workers=2)
    clips = [frames for epoch in epochs(data, (0, 1, 2)) for _, batch in epoch for frames in batch]
    assert len(clips) == 36
    different = {frames.numpy().tobytes() for frames in clips}
    assert len(different) == 36


def test_seeds_decide_and_epochs_can_be_entered_anywhere(made_up: Any) -> None:
    source = made_up([14])
    first = list(epochs(module(source, seed=1), (0, 1, 2)))
    resumed = list(epochs(module(source, seed=1), (2,)))
    other = list(epochs(module(source, seed=2), (2,)))
    assert same(first[2], resumed[0])
    assert not same(first[2], other[0])
    assert first[0][0][0] != first[1][0][0]
    for epoch in first:
        assert len({name for names, _ in epoch for name in names}) == 12


def test_batches(made_up: Any) -> None:
    data = module(made_up([9]), batch_size=3, val_batch_size=2, val_indices=(6, 1, 2))
    assert [len(batch.names) for batch in data.train_dataloader()] == [3, 3, 1]
    val = list(data.val_dataloader())
    assert [batch.names[0][0] for batch in val] == ["run0_6", "run0_2"]
    assert val[0].frames.shape == (2, 3, 3, 12, 16)
    assert val[0].masks.shape == (2, 3, 12, 16)
    assert val[0].masks.dtype == torch.int64
    dropping = module(made_up([9]), batch_size=3, drop_last=True)
    assert [len(batch.names) for batch in dropping.train_dataloader()] == [3, 3]


@pytest.mark.parametrize("length", [1, 2, 3])
def test_lengths(tiny_camvid: Path, length: int) -> None:
    source = CamVid(tiny_camvid, "val", length)
    batch = next(iter(module(source, train_indices=range(4)).train_dataloader()))
    assert batch.frames.shape == (4, length, 3, 8, 8)


def test_batches_move_between_devices(made_up: Any) -> None:
    batch = next(iter(module(made_up([9])).train_dataloader()))
    moved = pl.LightningDataModule().transfer_batch_to_device(batch, torch.device("meta"), 0)
    assert isinstance(moved, ClipBatch)
    assert moved.frames.device.type == moved.masks.device.type == "meta"
    assert moved.names == batch.names


def test_nothing_to_train_on(made_up: Any) -> None:
    with pytest.raises(DataError, match="training data: found 0 clips"):
        module(made_up([9]), train_indices=())
    with pytest.raises(DataError, match="validation data: found 0 clips, expected at least 1"):
        module(made_up([9]), val_indices=())
    with pytest.raises(DataError, match="found 7 clips, expected at least 8"):
        module(made_up([9]), batch_size=8, drop_last=True)


@pytest.mark.parametrize(("clips", "ranks", "shares"), [(9, 2, 2), (9, 4, 1), (3, 2, None)])
def test_ranks_share_the_batches_of_one(made_up: Any, clips: int, ranks: int, shares: int | None) -> None:
    """In order, without a clip twice or left out; each augmented as by one alone. Three clips are one uneven batch."""
    source = made_up([clips + 2])
    options: dict[str, Any] = {"seed": 3, "drop_last": clips > 4}
    alone = list(epochs(module(source, **options), (0, 1)))
    shared = [list(epochs(module(source, rank=rank, world_size=ranks, **options), (0, 1))) for rank in range(ranks)]
    for epoch, batches in enumerate(alone):
        assert {len(rank[epoch]) for rank in shared} == {len(batches)} == {clips // 4 or 1}
        for number, (names, frames) in enumerate(batches):
            parts = [rank[epoch][number] for rank in shared]
            assert [name for part, _ in parts for name in part] == names
            assert torch.equal(torch.cat([part for _, part in parts]), frames)
            assert shares is None or {len(part) for part, _ in parts} == {shares}


def test_ranks_share_the_validation_clips(made_up: Any) -> None:
    options: dict[str, Any] = {"val_batch_size": 2, "val_indices": (6, 1, 2, 5, 0)}
    ranks = [module(made_up([9]), rank=rank, world_size=2, **options).val_dataloader() for rank in range(2)]
    assert [len(loader) for loader in ranks] == [2, 1]
    assert [[names[0] for names in batch.names] for batch in ranks[0]] == [["run0_6", "run0_1"], ["run0_0"]]
    assert [[names[0] for names in batch.names] for batch in ranks[1]] == [["run0_2", "run0_5"]]


def test_every_rank_has_something(made_up: Any) -> None:
    with pytest.raises(DataError, match="training data: found 2 clips, expected at least 3"):
        module(made_up([9]), train_indices=(0, 1), world_size=3)
    with pytest.raises(DataError, match="validation data: found 4 clips, expected at least 5"):
        module(made_up([9]), val_indices=range(4), val_batch_size=2, world_size=3)
    module(made_up([9]), val_indices=range(5), val_batch_size=2, world_size=3)


class Recorder(pl.LightningModule):
    """Learns nothing and keeps the sum and the names of every batch, by epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.seen: dict[int, list[tuple[Any, float]]] = {}

    def training_step(self, batch: ClipBatch, _: int) -> Tensor:
        seen = self.seen.setdefault(self.current_epoch, [])
        seen.append((batch.names, batch.frames.sum().item()))
        return self.weight * 0

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(data: ClipDataModule, until: int, checkpoint: Path | None = None) -> tuple[pl.Trainer, Recorder]:
    recorder = Recorder()
    trainer = pl.Trainer(
        max_epochs=until,
        accelerator="cpu",
        logger=False,
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    trainer.fit(recorder, train_dataloaders=data.train_dataloader(), ckpt_path=checkpoint)
    return trainer, recorder


@pytest.mark.filterwarnings("ignore")
def test_lightning_resumes_within_the_same_stream(made_up: Any, tmp_path: Path) -> None:
    source = made_up([9])
    _, whole = fit(module(source), until=4)
    assert len({str(seen) for seen in whole.seen.values()}) == 4
    trainer, _ = fit(module(source), until=2)
    trainer.save_checkpoint(tmp_path / "half.ckpt")
    _, rest = fit(module(source), until=4, checkpoint=tmp_path / "half.ckpt")
    assert rest.seen == {2: whole.seen[2], 3: whole.seen[3]}
