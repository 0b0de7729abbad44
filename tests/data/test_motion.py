"""Clips from single frames: positions follow the camera, objects move, and the last frame is the labelled one."""

from typing import Any

import numpy as np
import pytest

from vseg_nas.data import IGNORE, MetaSplit, SyntheticStreet, meta_split, training, without_shared_frames
from vseg_nas.data.clip import RawClip
from vseg_nas.data.motion import MotionSimulation
from vseg_nas.data.settings import MotionSettings
from vseg_nas.data.wrappers import ClipsAndSingles, LastFrames
from vseg_nas.errors import ConfigError

NOTHING_MOVES: dict[str, Any] = dict.fromkeys(set(MotionSettings.model_fields) - {"objects"}, 0.0) | {"objects": 0}
CLASSES = ("road", "car")
H, W = 60, 80


def single(seed: int = 0) -> RawClip:
    """A road of coloured blocks with one red car."""
    rng = np.random.default_rng(seed)
    mask = np.zeros((H, W), np.uint8)
    mask[30:45, 20:40] = 1
    frame = np.repeat(np.repeat(rng.integers(0, 255, (H // 4, W // 4, 3), dtype=np.uint8), 4, 0), 4, 1)
    frame[mask == 1] = (250, 10, 10)
    return RawClip((frame,), (mask,), ("x",))


def clip(frames: int = 3, seed: int = 0, **motion: Any) -> RawClip:
    """A clip in which only what is given moves."""
    settings = MotionSettings(**(NOTHING_MOVES | motion))
    return MotionSimulation(frames, settings, CLASSES)(single(), np.random.default_rng(seed))


def test_without_motion_every_frame_is_the_last_one() -> None:
    last = single()
    made = clip()
    assert made.names == ("x-2", "x-1", "x")
    for t in range(3):
        np.testing.assert_array_equal(made.frames[t], last.frames[0])
        np.testing.assert_array_equal(made.masks[t], last.masks[0])


def test_the_last_frame_is_the_labelled_one_and_draws_repeat() -> None:
    last = single()
    motion = MotionSettings().model_dump(exclude={"noise", "gain", "blur"})
    made = clip(4, **motion)
    np.testing.assert_array_equal(made.frames[-1], last.frames[0])
    np.testing.assert_array_equal(made.masks[-1], last.masks[0])
    assert all(np.array_equal(a, b) for a, b in zip(made.frames, clip(4, **motion).frames, strict=True))
    assert not np.array_equal(made.frames[0], clip(4, seed=1, **motion).frames[0])


def test_a_pan_moves_frames_and_masks_alike() -> None:
    """A pan by whole pixels needs no interpolation: each frame is the one after it, moved."""

    class Pan:
        """The draws of a steady pan: 2 pixels down and 3 across per frame."""

        def normal(self, size: int | None = None) -> np.ndarray | float:
            return 0.0 if size is None else np.array([0, 1, 1.5, 0.0])[:size] if size == 4 else np.zeros(size)

        def uniform(self, low: float, high: float) -> float:
            return low

        def standard_normal(self, shape: tuple[int, ...], dtype: type) -> np.ndarray:
            return np.zeros(shape, dtype)

    last = single()
    simulation = MotionSimulation(3, MotionSettings(**(NOTHING_MOVES | {"shift": 2 / H})), CLASSES)
    made = simulation(last, Pan())  # type: ignore[arg-type]
    for t, steps in ((1, 1), (0, 2)):
        down, across = 2 * steps, 3 * steps
        np.testing.assert_array_equal(made.frames[t][: H - down, : W - across], last.frames[0][down:, across:])
        np.testing.assert_array_equal(made.masks[t][: H - down, : W - across], last.masks[0][down:, across:])
        assert (made.masks[t][H - down :] == IGNORE).all()
        assert (made.masks[t][:, W - across :] == IGNORE).all()


def test_the_picture_grows_towards_the_last_frame() -> None:
    """The car is smaller in earlier frames, as it is when the camera drives towards it."""
    areas = [int((mask == 1).sum()) for mask in clip(4, zoom=0.1).masks]
    assert areas == sorted(areas)
    assert areas[0] < 0.95 * areas[-1]


def test_objects_move_and_uncover_what_is_behind_them() -> None:
    last = single()
    made = clip(2, seed=3, objects=1, object_shift=0.5)
    before, mask = made.masks[0], last.masks[0]
    assert (before == 1).sum() > 0.5 * (mask == 1).sum()
    assert (before[mask == 1] == 0).sum() > 10  # road where the car is later
    assert (made.frames[0][before == 1] == (250, 10, 10)).mean() > 0.8  # the car's colours moved with it
    gone = (mask == 1) & (before == 0)
    assert (made.frames[0][gone] == (250, 10, 10)).all(-1).mean() < 0.1
    far = np.ones_like(mask, bool)
    far[20:55, :60] = False
    np.testing.assert_array_equal(made.frames[0][far], last.frames[0][far])


def test_only_movable_classes_move() -> None:
    motion = MotionSettings(**(NOTHING_MOVES | {"objects": 5, "object_shift": 0.5}))
    made = MotionSimulation(3, motion, ("road", "fence"))(single(), np.random.default_rng(0))
    np.testing.assert_array_equal(made.masks[0], single().masks[0])


def test_a_frame_full_of_one_object_has_nothing_behind_it() -> None:
    full = RawClip(single().frames, (np.ones((H, W), np.uint8),), ("x",))
    motion = MotionSettings(**(NOTHING_MOVES | {"objects": 1, "object_shift": 0.1}))
    made = MotionSimulation(2, motion, CLASSES)(full, np.random.default_rng(0))
    assert set(np.unique(made.masks[0])) == {1}


def test_frames_differ_in_noise_and_gain() -> None:
    made = clip(2, noise=4.0)
    difference = made.frames[0].astype(int) - made.frames[1]
    inner = (made.frames[0] > 20) & (made.frames[0] < 235)
    assert 4.0 * 2**0.5 * 0.8 < difference[inner].std() < 4.0 * 2**0.5 * 1.2
    lighter = clip(2, gain=0.2)
    ratio = lighter.frames[0].astype(float).mean() / lighter.frames[1].mean()
    assert abs(ratio - 1) > 0.02


def streets(clips: int, length: int) -> SyntheticStreet:
    return SyntheticStreet(clips, length, (32, 64), 0, "train", 3)


@pytest.mark.parametrize(("share", "real", "singles"), [(1.0, 0, 12), (0.5, 4, 4), (0.75, 4, 12), (0.9, 4, 36)])
def test_clips_and_single_frames_in_a_share(share: float, real: int, singles: int) -> None:
    source = ClipsAndSingles(streets(12, 1), 3, share, None if share == 1 else streets(4, 3))
    assert [len(source[i].frames) for i in range(len(source))] == [3] * real + [1] * singles
    assert len(source.sequences) == len(source.frame_ids) == real + singles
    assert {len(ids) for ids in source.frame_ids} == {3}
    transform = training((32, 64), flip=False, motion=MotionSimulation(3, MotionSettings(), source.classes))
    for index in (0, len(source) - 1):
        transform.set_seed(index)
        made = transform(source[index])
        assert made.frames.shape == (3, 3, 32, 64)
        transform.set_seed(index)
        assert made.frames.equal(transform(source[index]).frames)


def test_made_clips_change_the_fingerprints_of_sources_and_transforms() -> None:
    prints = {ClipsAndSingles(streets(12, 1), n, 1.0, None).fingerprint() for n in (3,)}
    prints |= {ClipsAndSingles(streets(12, 1), 3, s, streets(4, 3)).fingerprint() for s in (0.5, 0.75)}
    assert len(prints) == 3
    motions = [None, *(MotionSimulation(n, MotionSettings(noise=x), CLASSES) for n in (2, 3) for x in (1.0, 2.0))]
    assert len({training((32, 64), motion=motion).fingerprint() for motion in motions}) == 5


def test_real_clips_of_another_length_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"^length: found real clips of 3 frames, expected 4$"):
        ClipsAndSingles(streets(12, 1), 4, 0.5, streets(4, 3))


def test_no_frame_is_on_both_sides_of_a_meta_split() -> None:
    """A single frame that is also in a real clip of the other side would be scored on what was trained on."""
    source = ClipsAndSingles(streets(12, 1), 3, 0.75, streets(4, 3))

    def frames(indices: tuple[int, ...]) -> set[tuple[str, int]]:
        return {(source.sequences[i], frame) for i in indices for frame in source.frame_ids[i]}

    split = meta_split(source, 0.3)
    assert frames(split.train) & frames(split.val)
    apart = without_shared_frames(source, split)
    assert not frames(apart.train) & frames(apart.val)
    assert apart.val == split.val
    assert 0 < len(apart.train) < len(split.train)
    assert without_shared_frames(source, MetaSplit((0,), (3,))) == MetaSplit((0,), (3,))


def test_last_frames() -> None:
    source = streets(6, 3)
    last = LastFrames(source, (1, 4))
    assert (len(last), last.length, last.frame_ids) == (2, 1, ((source.frame_ids[1][-1],), (source.frame_ids[4][-1],)))
    np.testing.assert_array_equal(last[1].frames[0], source[4].frames[-1])
    np.testing.assert_array_equal(last[1].masks[0], source[4].masks[-1])
    assert last[1].names == source[4].names[-1:]
    assert last.fingerprint() != LastFrames(source, (1, 3)).fingerprint()


def test_streets_at_another_rate_move_less_from_frame_to_frame() -> None:
    """At a tenth of the time between frames, frame 10 shows the scene that frame 1 shows at the usual rate."""
    usual, slow = (SyntheticStreet(1, 2 if s == 0.1 else 11, (48, 64), 0, "val", 11, s) for s in (0.1, 0.01))
    masks, slow_masks = usual[0].masks, slow[0].masks
    changed = (slow_masks[0] != slow_masks[1]).mean(), (masks[0] != masks[1]).mean()
    assert changed[0] < 0.5 * changed[1]
    assert slow.frame_seconds == 0.01
    assert usual.fingerprint() != slow.fingerprint()
