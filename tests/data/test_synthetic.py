"""Generated streets: reproducible frame by frame, with masks that are exact by geometry."""

from collections.abc import Sequence

import numpy as np
import pytest

from vseg_nas.data import SyntheticStreet
from vseg_nas.data.street.frame import photograph, render
from vseg_nas.data.street.objects import StreetClass, StreetObject, shapes_of
from vseg_nas.data.street.scene import ROAD, WALL, Scene, build_scene
from vseg_nas.data.street.view import View, background
from vseg_nas.errors import ConfigError

SIZE = (96, 128)


def street(seed: int = 0) -> Scene:
    return build_scene(np.random.default_rng(seed), steps=6)


def test_frames_are_functions_of_their_place() -> None:
    source = SyntheticStreet(6, length=3, seed=4, frames_per_drive=5)
    forwards = [source[i] for i in range(6)]
    fresh = SyntheticStreet(6, length=3, seed=4, frames_per_drive=5)
    backwards = [fresh[i] for i in reversed(range(6))][::-1]
    for one, other in zip(forwards, backwards, strict=True):
        np.testing.assert_array_equal(one.frames, other.frames)
        np.testing.assert_array_equal(one.masks, other.masks)
    np.testing.assert_array_equal(forwards[0].frames[1], forwards[1].frames[0])
    assert forwards[0].names[1] == forwards[1].names[0]
    assert source.sequences[:4] == ("train_00000", "train_00000", "train_00000", "train_00001")
    assert source.frame_ids[:4] == ((0, 1, 2), (1, 2, 3), (2, 3, 4), (0, 1, 2))


def test_seeds_splits_and_runs_differ() -> None:
    clips = [
        SyntheticStreet(1, 1, seed=0)[0],
        SyntheticStreet(1, 1, seed=1)[0],
        SyntheticStreet(1, 1, seed=0, split="val")[0],
        SyntheticStreet(2, 1, seed=0, frames_per_drive=1)[1],
    ]
    masks = [clip.masks[0] for clip in clips]
    for i, one in enumerate(masks):
        for other in masks[i + 1 :]:
            assert (one != other).mean() > 0.05


@pytest.mark.parametrize(("size", "length"), [((96, 128), 2), ((97, 61), 1), ((16, 16), 4), ((180, 240), 3)])
def test_any_size_and_length(size: tuple[int, int], length: int) -> None:
    clip = SyntheticStreet(1, length, size)[0]
    assert len(clip.frames) == len(clip.masks) == len(clip.names) == length
    for frame, mask in zip(clip.frames, clip.masks, strict=True):
        assert frame.shape == (*size, 3)
        assert frame.dtype == mask.dtype == np.uint8
        assert mask.shape == size
        assert set(np.unique(mask)) <= {*range(8), 255}


def test_all_classes_appear_and_neighbours_tell_much() -> None:
    source = SyntheticStreet(12, 2, (64, 96), frames_per_drive=2)
    masks = np.array([source[i].masks for i in range(12)])
    share = np.bincount(masks.ravel(), minlength=256) / masks.size
    assert (share[:8] > 0.003).all()
    assert 0 < share[255] < 0.06
    assert share[:8].sum() + share[255] == pytest.approx(1)
    agreement = (masks[:, 0] == masks[:, 1]).mean((1, 2))
    assert agreement.min() > 0.6
    assert agreement.max() < 0.995


def placed(scene: Scene, view: View, points: Sequence[tuple[float, float, float]]) -> list[int]:
    """Labels of the background at points (x, y, depth) of the world that lie in the frame."""
    _, labels = background(scene, view)
    found = []
    for x, y, depth in points:
        u, v = view.project(*np.array([[x], [y], [depth]], np.float32))[0]
        if 0 <= u < view.width and 0 <= v < view.height:
            found.append(int(labels[v, u]))
    return found


@pytest.mark.parametrize("frame", [0, 5])
def test_ground_is_road_between_the_kerbs(frame: int) -> None:
    scene = street()
    view = View.at(scene, frame, (400, 600))
    depths = np.linspace(5, 16, 12)
    road = placed(scene, view, [(x, 0, z) for x in np.linspace(-ROAD + 0.3, ROAD - 0.3, 9) for z in depths])
    assert len(road) > 50
    assert set(road) == {StreetClass.ROAD}
    beside = [side * x for side in (-1, 1) for x in np.linspace(ROAD + 0.3, WALL - 0.3, 5)]
    pavement = placed(scene, view, [(x, 0, z) for x in beside for z in depths])
    assert len(pavement) > 20
    assert set(pavement) == {StreetClass.PAVEMENT}


def test_houses_end_at_their_height() -> None:
    scene = street(3)
    view = View.at(scene, 2, (400, 600))
    for side, houses in zip((-1, 1), scene.houses, strict=True):
        depths = np.linspace(16, 40, 30)
        index = np.searchsorted(houses.edges, depths + view.z) - 1
        walls = [(side * WALL, float(houses.heights[i]) * 0.5, z) for i, z in zip(index, depths, strict=True)]
        found = placed(scene, view, [wall for wall in walls if wall[1] > 0.5])
        assert len(found) > 10
        assert set(found) == {StreetClass.BUILDING}
    _, labels = background(scene, view)
    assert (labels[0] == StreetClass.SKY).any()


def painted(*objects: StreetObject) -> np.ndarray:
    scene = street()
    object.__setattr__(scene, "shapes", shapes_of(objects))
    return render(scene, 0, SIZE, np.random.default_rng(0))[1]


def test_nearer_things_hide_farther_ones_whatever_their_order() -> None:
    def thing(kind: str, z: float) -> StreetObject:
        return StreetObject(kind, 1.6, z, 0, 0, 1, (10, 200, 10), 0)  # type: ignore[arg-type]

    person, car = thing("pedestrian", 6), thing("car", 9)
    alone = painted(person) == StreetClass.PEDESTRIAN
    assert alone.sum() > 50
    for order in ((person, car), (car, person)):
        np.testing.assert_array_equal(painted(*order) == StreetClass.PEDESTRIAN, alone)
    behind = painted(thing("pedestrian", 15), thing("car", 9))
    assert (behind == StreetClass.PEDESTRIAN).sum() < 10


def test_things_grow_as_the_square_of_their_nearness() -> None:
    near = painted(StreetObject("tree", 0.5, 10, 0, 0, 1, (0, 99, 0), 0)) == StreetClass.TREE
    far = painted(StreetObject("tree", 0.5, 20, 0, 0, 1, (0, 99, 0), 0)) == StreetClass.TREE
    assert near.sum() / far.sum() == pytest.approx(4, rel=0.25)


def test_camera_faults_leave_the_mean_roughly_alone() -> None:
    grey = np.full((60, 80, 3), 120, np.uint8)
    shots = [photograph(grey, 1, np.random.default_rng(seed)) for seed in range(60)]
    means = np.array([shot.mean() for shot in shots])
    assert 100 < np.median(means) < 140
    assert means.std() > 8
    assert min(shot.std() for shot in shots) > 2


def test_fingerprints_follow_every_parameter() -> None:
    sources = [
        SyntheticStreet(8),
        SyntheticStreet(9),
        SyntheticStreet(8, length=2),
        SyntheticStreet(8, size=(96, 129)),
        SyntheticStreet(8, seed=1),
        SyntheticStreet(8, split="val"),
        SyntheticStreet(8, frames_per_drive=7),
    ]
    assert len({source.fingerprint() for source in sources}) == len(sources)
    assert SyntheticStreet(8).fingerprint() == SyntheticStreet(8).fingerprint()
    assert len(sources[0].classes) == len(sources[0].palette) == 8


@pytest.mark.parametrize("bad", [{"clips": 0}, {"length": 7}, {"length": 0}, {"size": (8, 128)}])
def test_mistakes(bad: dict[str, int]) -> None:
    with pytest.raises(ConfigError, match="synthetic clips: found"):
        SyntheticStreet(**({"clips": 4} | bad))  # type: ignore[arg-type]
    with pytest.raises(IndexError):
        SyntheticStreet(4)[4]
