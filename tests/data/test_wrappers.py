import numpy as np

from vseg_nas.data import StillClips, SyntheticStreet


def test_every_later_frame_stands_still_once() -> None:
    source = SyntheticStreet(4, 3, (32, 48))
    still = StillClips(source)
    assert (len(still), still.length) == (8, 2)
    for index in range(8):
        pair, raw = still[index], source[index // 2]
        t = 1 + index % 2
        assert all(np.array_equal(frame, raw.frames[t]) for frame in pair.frames)
        assert all(np.array_equal(mask, raw.masks[t]) for mask in pair.masks)
        assert pair.names == (raw.names[t],) * 2
        assert still.frame_ids[index] == (source.frame_ids[index // 2][t],) * 2
        assert still.sequences[index] == source.sequences[index // 2]
    assert still.fingerprint() != source.fingerprint()
