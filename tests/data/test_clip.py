from typing import Any

import pytest
import torch

from vseg_nas.data import Clip, InMemory, collate


def test_collate_stacks_and_keeps_order() -> None:
    clips = [Clip(torch.full((2, 3, 4, 5), i), torch.full((2, 8, 10), i), (f"{i}a", f"{i}b")) for i in range(3)]
    batch = collate(clips)
    assert batch.frames.shape == (3, 2, 3, 4, 5)
    assert batch.masks[:, 0, 0, 0].tolist() == [0, 1, 2]
    assert batch.names == [("0a", "0b"), ("1a", "1b"), ("2a", "2b")]


def test_memory_reads_each_clip_once(made_up: Any) -> None:
    source = made_up([6])
    kept = InMemory(source)
    assert [kept[i].names for i in (0, 1, 0, 1, 1)] == [source[i].names for i in (0, 1, 0, 1, 1)]
    assert source.reads == 2 + 5
    assert (len(kept), kept.sequences, kept.frame_ids, kept.length) == (4, source.sequences, source.frame_ids, 3)
    assert kept.fingerprint() == source.fingerprint()
    with pytest.raises(IndexError):
        kept[4]
