"""Batch norm needs two values a channel: batches that have one are refused before the first epoch."""

from __future__ import annotations

import pytest
import torch

import vseg_nas.pretrain
from tests.fixtures import InProcess
from vseg_nas.assembly.data_sources import check_batches
from vseg_nas.data.datamodule import EpochSampler, RankBatches
from vseg_nas.errors import ConfigError
from vseg_nas.models.static import StaticSegmenter


def batch_sizes(clips: int, batch_size: int, drop_last: bool) -> list[int]:
    """Of what the loaders of frames and of cached features serve."""
    if not drop_last:
        return [len(indices) for indices in torch.split(torch.arange(clips), batch_size)]
    sampler = EpochSampler(range(clips), seed=0, shuffle=True)
    return [len(b) for b in RankBatches(sampler, batch_size, clips > batch_size, rank=0, world_size=1, whole=False)]


@pytest.mark.parametrize("crop", [(32, 32), (32, 33), (64, 32), (32, 31)])
@pytest.mark.parametrize("drop_last", [True, False])
def test_a_batch_of_one_value_is_refused_and_no_other(crop: tuple[int, int], drop_last: bool) -> None:
    network = StaticSegmenter(("a", "b")).encoder
    with torch.no_grad():
        positions = network.eval()(torch.zeros(1, 3, *crop))[-1][0, 0].numel()
    for clips in range(1, 8):
        for batch_size in range(1, 5):
            smallest = min(batch_sizes(clips, batch_size, drop_last))
            if smallest * positions > 1:
                check_batches(clips, batch_size, crop, "phase.pretrain", drop_last)
                continue
            with pytest.raises(
                ConfigError, match=rf"phase\.pretrain\.batch_size: found {batch_size}, by which a clip of 32x"
            ):
                check_batches(clips, batch_size, crop, "phase.pretrain", drop_last)


def test_pretraining_on_single_small_frames_is_one_line(in_process: InProcess) -> None:
    status, out, err = in_process(
        vseg_nas.pretrain.main,
        *("gpu=cpu", "dataset.size=[32,32]", "dataset.frames_per_drive=3", "dataset.clips=3", "dataset.val_clips=2"),
        *("phase.pretrain.epochs=1", "phase.pretrain.transform.crop=[32,32]", "phase.pretrain.batch_size=1"),
    )
    assert (status, err.count("\n")) == (2, 1)
    assert err.startswith(
        "error: phase.pretrain.batch_size: found 1, by which a clip of 32x32 is alone in its batch (3 clips)"
    )
    assert "epoch" not in out
