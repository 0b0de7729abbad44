"""Clip geometry: coordinates written into frames and masks must agree after any draw."""

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from vseg_nas.data import ClipTransform, RawClip, normalise, padded, resized, training
from vseg_nas.errors import ConfigError

MEAN = np.array([0.485, 0.456, 0.406])
STD = np.array([0.229, 0.224, 0.225])
H, W = 60, 80


def coordinates(height: int = H, width: int = W) -> RawClip:
    """Red is x and green is y in both frames; the masks hold x in the first and y in the second."""
    y, x = np.mgrid[:height, :width].astype(np.uint8)
    frame = np.stack([x, y, np.full_like(x, 40)], axis=-1)
    return RawClip((frame, frame.copy()), (x, y), ("a", "b"))


def denormalise(frames: torch.Tensor) -> NDArray[np.float64]:
    return np.asarray(frames.double().permute(0, 2, 3, 1).numpy() * STD + MEAN) * 255


def test_normalise_in_numpy() -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 5, 4, 3)).astype(np.uint8)
    result = normalise(frames)
    expected = ((frames / 255 - MEAN) / STD).transpose(0, 3, 1, 2)
    assert result.shape == (2, 3, 5, 4)
    np.testing.assert_allclose(result.numpy(), expected, atol=1e-5)


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, 2.0), (0.7, 0.7)])
def test_frames_and_masks_stay_aligned(scale: tuple[float, float]) -> None:
    transform = training((48, 40), scale, seed=1)
    offsets = []
    for _ in range(60):
        clip = transform(coordinates())
        pixels = denormalise(clip.frames)
        np.testing.assert_array_equal(pixels[0], pixels[1])
        inside = (clip.masks[0] != 255).numpy()
        np.testing.assert_array_equal(inside, (clip.masks[1] != 255).numpy())
        for channel in (0, 1):
            difference = (pixels[0, ..., channel] - clip.masks[channel].numpy())[inside]
            assert np.abs(difference).max() <= 1.6 / min(1, scale[0])
            offsets.append(difference.mean())
        assert inside.mean() > 0.2
    # a mask sampled half a pixel off its frame shows as a steady bias
    assert abs(np.mean(offsets)) < 0.15


def test_draws_cover_mirror_scale_and_place() -> None:
    transform = training((30, 40), (0.5, 2.0), seed=2)
    slopes, left, top = [], [], []
    for _ in range(80):
        masks = transform(coordinates()).masks.numpy()
        row = masks[0, 15].astype(float)
        slopes.append((row[-1] - row[0]) / 39)
        left.append(row.min())
        top.append(masks[1, 0, 0])
    zoom = 1 / np.abs(slopes)
    assert zoom.min() >= 0.48
    assert zoom.min() < 0.6
    assert zoom.max() <= 2.1
    assert zoom.max() > 1.8
    assert 0.3 < np.mean(np.array(slopes) < 0) < 0.7
    assert len(set(left)) > 20
    assert len(set(top)) > 15


def test_fixed_half_size_is_the_mean_of_blocks() -> None:
    rng = np.random.default_rng(0)
    frame = rng.integers(0, 256, (H, W, 3)).astype(np.uint8)
    raw = RawClip((frame,), (np.zeros((H, W), np.uint8),), ("a",))
    blocks = frame.reshape(H // 2, 2, W // 2, 2, 3).mean((1, 3))
    for transform in (training((H // 2, W // 2), (0.5, 0.5), flip=False), resized((H // 2, W // 2))):
        pixels = denormalise(transform(raw).frames)[0]
        assert np.abs(pixels - blocks).max() <= 0.51


@pytest.mark.parametrize("flip", [True, False])
def test_small_clips_are_padded_in_the_centre(flip: bool) -> None:
    clip = training((80, 120), flip=flip, seed=0)(coordinates())
    assert clip.masks.shape == (2, 80, 120)
    assert clip.masks.dtype == torch.int64
    inside = torch.zeros(80, 120, dtype=torch.bool)
    inside[10:70, 20:100] = True
    assert (clip.masks[:, inside] != 255).all()
    assert (clip.masks[:, ~inside] == 255).all()
    assert clip.frames[:, :, ~inside].abs().max() < 0.01
    assert clip.frames[:, :, inside].abs().max() > 1


def test_padded_is_a_centred_frame_of_mean_colour() -> None:
    raw = coordinates(180, 240)
    clip = padded((200, 300))(raw)
    assert torch.equal(clip.frames[:, :, 10:190, 30:270], normalise(np.stack(raw.frames)))
    assert torch.equal(clip.masks[0, 10:190, 30:270], torch.from_numpy(raw.masks[0]).long())
    assert (clip.masks[:, :10] == 255).all()
    assert (clip.masks[:, :, 270:] == 255).all()
    assert clip.frames[:, :, :10].abs().max() < 0.01


def test_padded_crops_what_is_too_large_about_the_centre() -> None:
    clip = padded((30, 100))(coordinates())
    assert clip.masks[1, :, 50].tolist() == list(range(15, 45))
    assert clip.masks[0, 0, 10:90].tolist() == list(range(80))


def test_resized_keeps_masks() -> None:
    raw = coordinates()
    clip = resized((45, 100))(raw)
    assert clip.frames.shape == (2, 3, 45, 100)
    assert torch.equal(clip.masks, torch.from_numpy(np.stack(raw.masks)).long())
    untouched = resized()(raw)
    assert torch.equal(untouched.frames, normalise(np.stack(raw.frames)))
    assert untouched.masks.shape == (2, H, W)
    assert untouched.names == ("a", "b")


def test_jitter_changes_colours_of_all_frames_alike_and_no_padding() -> None:
    transform = training((80, 120), flip=False, jitter=0.3)
    plain = training((80, 120), flip=False)(coordinates())
    clips = [transform(coordinates()) for _ in range(5)]
    for clip in clips:
        assert torch.equal(clip.frames[0], clip.frames[1])
        assert torch.equal(clip.masks, plain.masks)
        assert clip.frames[:, :, :10].abs().max() < 0.01
        assert not torch.allclose(clip.frames, plain.frames, atol=0.05)


def test_seeds_restart_the_stream() -> None:
    transform = training((30, 40), (0.5, 2.0), jitter=0.2)

    def draw(seed: int) -> list[torch.Tensor]:
        transform.set_seed(seed)
        return [transform(coordinates()).frames for _ in range(3)]

    first, again, other = draw(7), draw(7), draw(8)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not any(torch.equal(a, b) for a, b in zip(first, other, strict=True))
    assert not torch.equal(first[0], first[1])


def test_fingerprints_tell_parameters_apart_not_seeds() -> None:
    transforms = [
        training((30, 40)),
        training((40, 30)),
        training((30, 40), flip=False),
        training((30, 40), jitter=0.1),
        training((30, 40), (0.5, 2.0)),
        padded((30, 40)),
        resized((30, 40)),
        resized(),
    ]
    assert len({transform.fingerprint() for transform in transforms}) == len(transforms)
    assert training((30, 40), seed=3).fingerprint() == training((30, 40)).fingerprint()


def test_mistakes() -> None:
    with pytest.raises(ConfigError, match="scale: found 2 to 1"):
        training((30, 40), (2, 1))
    with pytest.raises(ConfigError, match="jitter"):
        training((30, 40), jitter=1.5)
    with pytest.raises(ConfigError, match="found 0x40"):
        padded((0, 40))
    with pytest.raises(UserWarning, match="probability"):
        ClipTransform([("HorizontalFlip", {"probability": 0.5})])
