"""Clips from stills: the last frame is the still, places follow the camera, objects leave what was behind them."""

from dataclasses import replace

import numpy as np
import pytest

from vseg_nas.data import IGNORE, SyntheticStreet, training
from vseg_nas.data.clip import RawClip
from vseg_nas.data.motion import Motion, Simulation
from vseg_nas.data.moving import ClipsAndStills, Moving
from vseg_nas.errors import ConfigError

STILL = Motion(**dict.fromkeys(Motion.__dataclass_fields__, 0))
CLASSES = ("road", "car")
H, W = 60, 80


def still(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    mask = np.zeros((H, W), np.uint8)
    mask[30:45, 20:40] = 1
    frame = np.repeat(np.repeat(rng.integers(0, 255, (H // 4, W // 4, 3), dtype=np.uint8), 4, 0), 4, 1)
    frame[mask == 1] = (250, 10, 10)
    return frame, mask


def clip(motion: Motion, frames: int = 3, seed: int = 0) -> RawClip:
    return Simulation(frames, motion, CLASSES)(*still(), "x", np.random.default_rng(seed))


def test_without_motion_every_frame_is_the_still() -> None:
    frame, mask = still()
    made = clip(STILL)
    assert made.names == ("x-2", "x-1", "x")
    for t in range(3):
        np.testing.assert_array_equal(made.frames[t], frame)
        np.testing.assert_array_equal(made.masks[t], mask)


def test_the_last_frame_is_the_still_and_draws_repeat() -> None:
    frame, mask = still()
    motion = replace(Motion(), noise=0, gain=0, blur=0)
    made = clip(motion, 4)
    np.testing.assert_array_equal(made.frames[-1], frame)
    np.testing.assert_array_equal(made.masks[-1], mask)
    assert all(np.array_equal(a, b) for a, b in zip(made.frames, clip(motion, 4).frames, strict=True))
    assert not np.array_equal(made.frames[0], clip(motion, 4, seed=1).frames[0])


def test_a_pan_moves_frames_and_masks_alike() -> None:
    """Of a whole number of pixels nothing is interpolated: each frame is the one after it, moved."""

    class Pan:
        """Draws of a steady pan: 2 pixels down a frame, 3 across."""

        def normal(self, size: int | None = None) -> np.ndarray | float:
            return 0.0 if size is None else np.array([0, 1, 1.5, 0.0])[:size] if size == 4 else np.zeros(size)

        def standard_normal(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
            return np.zeros(shape, dtype)

    frame, mask = still()
    simulation = Simulation(3, replace(STILL, shift=2 / H), CLASSES)
    made = simulation(frame, mask, "x", Pan())  # type: ignore[arg-type]
    for t, steps in ((1, 1), (0, 2)):
        down, across = 2 * steps, 3 * steps
        np.testing.assert_array_equal(made.frames[t][: H - down, : W - across], frame[down:, across:])
        np.testing.assert_array_equal(made.masks[t][: H - down, : W - across], mask[down:, across:])
        assert (made.masks[t][H - down :] == IGNORE).all()
        assert (made.masks[t][:, W - across :] == IGNORE).all()


def test_objects_move_and_uncover_what_is_behind_them() -> None:
    frame, mask = still()
    made = clip(replace(STILL, objects=1, object_shift=0.5), 2, seed=3)
    before = made.masks[0]
    assert (before == 1).sum() > 0.5 * (mask == 1).sum()
    assert (before[mask == 1] == 0).sum() > 10  # road where the car is later
    assert (made.frames[0][before == 1] == (250, 10, 10)).mean() > 0.8  # its colours came along
    gone = (mask == 1) & (before == 0)
    assert (made.frames[0][gone] == (250, 10, 10)).all(-1).mean() < 0.1
    far = np.ones_like(mask, bool)
    far[20:55, :60] = False
    np.testing.assert_array_equal(made.frames[0][far], frame[far])


def test_frames_differ_in_noise_and_gain() -> None:
    made = clip(replace(STILL, noise=4.0), 2)
    difference = made.frames[0].astype(int) - made.frames[1]
    inner = (made.frames[0] > 20) & (made.frames[0] < 235)
    assert 4.0 * 2**0.5 * 0.8 < difference[inner].std() < 4.0 * 2**0.5 * 1.2


@pytest.mark.parametrize(("share", "real", "stills"), [(1.0, 0, 12), (0.5, 4, 4), (0.75, 4, 12), (0.9, 4, 36)])
def test_clips_and_stills_in_a_share(share: float, real: int, stills: int) -> None:
    clips, singles = SyntheticStreet(4, 3, (32, 64), 0, "train", 3), SyntheticStreet(12, 1, (32, 64), 0, "train", 3)
    source = ClipsAndStills(clips, singles, share)
    lengths = [len(source[i].frames) for i in range(len(source))]
    assert lengths == [3] * real + [1] * stills
    assert len(source.runs) == len(source.frame_ids) == real + stills
    assert {len(ids) for ids in source.frame_ids} == {3}
    moving = Moving(training((32, 64), flip=False), 3, Motion(), source.classes)
    for index in (0, len(source) - 1):
        moving.set_seed(index)
        assert moving(source[index]).frames.shape == (3, 3, 32, 64)


def test_a_wrong_share_is_refused() -> None:
    clips, singles = SyntheticStreet(4, 3, (32, 64), 0, "train", 3), SyntheticStreet(12, 1, (32, 64), 0, "train", 3)
    with pytest.raises(ConfigError, match=r"share of simulated motion: found 0, expected more than 0"):
        ClipsAndStills(clips, singles, 0)
    with pytest.raises(ConfigError, match=r"stills: found clips of 3 frames, expected 1"):
        ClipsAndStills(clips, clips, 0.5)
