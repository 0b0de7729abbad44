"""Training on cached features is training on frames."""

import copy
import hashlib
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from vseg_nas.data import Clip, ClipTransform, SyntheticStreet, resized, training
from vseg_nas.data.feature_cache import StaticFeatures
from vseg_nas.labels import IGNORE
from vseg_nas.metrics import ConfusionMatrix
from vseg_nas.models.cell import DynamicCell
from vseg_nas.models.propagation import CellPropagation
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.models.video_segmenter import VideoSegmenter
from vseg_nas.space import SearchSpace
from vseg_nas.training.cell_module import CellModule, DecoderAsCell
from vseg_nas.training.features import FeatureBatches, cache_key, cached_features, to_device_if_room
from vseg_nas.training.settings import CellTraining

CPU = torch.device("cpu")
INDICES = (3, 0, 2)
GENOTYPE = SearchSpace(2, 8).genotype([0, 1, 0, 5, 0, 2, 5, 3, 0, 4])  # reads both inputs of the previous frame


@pytest.fixture(scope="module")
def source() -> SyntheticStreet:
    return SyntheticStreet(4, size=(80, 112))


@pytest.fixture(scope="module")
def network(source: SyntheticStreet) -> StaticSegmenter:
    torch.manual_seed(0)
    return StaticSegmenter(source.classes, auxiliary=False).freeze()


def cached(
    root: Path,
    network: StaticSegmenter,
    source: SyntheticStreet,
    transform: ClipTransform,
    indices: tuple[int, ...] = INDICES,
    precision: str = "fp32",
    for_training: bool = False,
    past_is_current: bool = False,
) -> tuple[StaticFeatures, int]:
    """The features, and how many frames went through the encoder."""
    frames = 0

    def count(_: object, inputs: tuple[Tensor]) -> None:
        nonlocal frames
        frames += len(inputs[0])

    def track(clips: Iterable[Clip], total: int) -> Iterable[Clip]:
        assert total == len(indices)
        return clips

    handle = network.encoder.register_forward_pre_hook(count)
    kind = {"for_training": for_training, "past_is_current": past_is_current}
    features = cached_features(root, network, source, indices, transform, precision, CPU, track, **kind)
    handle.remove()
    return features, frames


@pytest.mark.parametrize("for_training", [False, True])
def test_loss_is_that_of_the_frames_themselves(
    tmp_path: Path, network: StaticSegmenter, source: SyntheticStreet, for_training: bool
) -> None:
    transform = training((64, 96), (0.8, 1.2), jitter=0.2)
    features, _ = cached(tmp_path, network, source, transform, for_training=for_training)
    assert features.masks.shape[-2:] == ((8, 12) if for_training else (64, 96))
    torch.manual_seed(1)
    cell = DynamicCell(GENOTYPE)
    module = CellModule(copy.deepcopy(cell), network.decoder.classifier, CellTraining())
    (batch,) = FeatureBatches(features, 3)
    found = module.training_step(batch, 0)

    clips = []
    for index in INDICES:
        transform.set_seed(index)
        clips.append(transform(source[index]))
    frames, masks = torch.stack([clip.frames for clip in clips]), torch.stack([clip.masks for clip in clips])
    static = network(frames[:, 0])
    previous, dec = static.encoder.layer4, static.dec
    expected = torch.zeros(())
    for t in (1, 2):
        taps = network.encode(frames[:, t])
        dec = cell(previous, dec, taps.layer2, taps.layer3, taps.layer4)
        previous = taps.layer4
        target = masks[:, t, 4::8, 4::8]  # the pixels at the centres of 8 x 8 cells
        assert (target != IGNORE).any()
        expected = expected + F.cross_entropy(network.decoder.classifier(dec), target, ignore_index=IGNORE)
    assert expected > 1
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-5)


def test_the_decoder_as_a_cell_labels_as_the_static_network(
    tmp_path: Path, network: StaticSegmenter, source: SyntheticStreet
) -> None:
    transform = resized((50, 70))
    features, _ = cached(tmp_path, network, source, transform)
    decoder = DecoderAsCell(copy.deepcopy(network.decoder)).eval()
    module = CellModule(decoder, network.decoder.classifier, CellTraining(), past="zero")
    (batch,) = FeatureBatches(features, 3)
    with torch.no_grad():
        found = torch.stack(list(module(batch)), 1)
        frames = torch.stack([transform(source[index]).frames[1:] for index in INDICES])
        expected = network(frames.flatten(0, 1)).pred.unflatten(0, (3, 2))
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_the_network_runs_once(tmp_path: Path, network: StaticSegmenter, source: SyntheticStreet) -> None:
    transform = resized((64, 96))
    first, frames = cached(tmp_path, network, source, transform)
    assert frames == 3 * len(INDICES)
    second, frames = cached(tmp_path, copy.deepcopy(network), SyntheticStreet(4, size=(80, 112)), resized((64, 96)))
    assert frames == 0
    pairs = zip(first.arrays().values(), second.arrays().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in pairs)
    assert first.masks.shape == (3, 2, 80, 112)  # native, while features are of 64 x 96
    assert first.layer2.shape == (3, 2, 32, 8, 12)


@pytest.mark.parametrize(
    "change",
    ["weights", "statistics", "source", "indices", "transform", "precision", "for_training", "past_is_current"],
)
def test_whatever_matters_is_computed_anew(
    tmp_path: Path, network: StaticSegmenter, source: SyntheticStreet, change: str
) -> None:
    small, plain = resized((32, 32)), (2,)
    cached(tmp_path, network, source, small, plain)
    other: dict[str, Any] = {"network": network, "source": source, "transform": small, "indices": plain}
    match change:
        case "weights" | "statistics":
            other["network"] = copy.deepcopy(network)
            name = "decoder.classifier.bias" if change == "weights" else "encoder.stages.0.0.1.running_var"
            other["network"].state_dict()[name][0] += 1e-6
        case "source":
            other["source"] = SyntheticStreet(4, size=(80, 112), seed=1)
        case "indices":
            other["indices"] = (1,)
        case "transform":
            other["transform"] = resized((32, 33))
        case "precision":
            other["precision"] = "fp16"
        case "for_training" | "past_is_current":
            other[change] = True
    assert cached(tmp_path, **other)[1] == (2 if change == "past_is_current" else 3)


@pytest.mark.parametrize("for_training", [False, True])
def test_with_the_current_frame_as_its_past_every_later_frame_is_a_clip(
    tmp_path: Path, network: StaticSegmenter, source: SyntheticStreet, for_training: bool
) -> None:
    """The previous frame of each is the frame itself, as the whole static network sees it."""
    transform = resized((64, 96))
    features, frames = cached(tmp_path, network, source, transform, for_training=for_training, past_is_current=True)
    assert frames == 2 * len(INDICES)
    clips, _ = cached(tmp_path, network, source, transform, for_training=for_training)
    for name in ("layer2", "layer3", "layer4", "masks"):
        of_pairs, of_clips = getattr(features, name), getattr(clips, name)
        torch.testing.assert_close(of_pairs, of_clips.reshape(of_pairs.shape))
    assert features.clips == 6
    torch.testing.assert_close(features.key_layer4, features.layer4[:, 0])
    with torch.no_grad():
        last = network(transform(source[INDICES[0]]).frames[2:])
    torch.testing.assert_close(features.key_dec[1:2], last.dec)


def test_a_clip_is_drawn_alike_in_any_company(
    tmp_path: Path, network: StaticSegmenter, source: SyntheticStreet
) -> None:
    transform = training((32, 32), (0.5, 2.0), jitter=0.5)
    together, _ = cached(tmp_path, network, source, transform, (0, 1, 2))
    alone, _ = cached(tmp_path, network, source, transform, (2,))
    assert torch.equal(together.masks[2], alone.masks[0])
    torch.testing.assert_close(together.key_dec[2], alone.key_dec[0])
    assert not torch.equal(together.masks[0], together.masks[1])


def order(batches: FeatureBatches) -> list[list[int]]:
    return [batch.masks[:, 0, 0, 0].tolist() for batch in batches]


def test_order_of_batches(make_features: Any) -> None:
    features = make_features(clips=7)
    features.masks[:] = torch.arange(7, dtype=torch.uint8)[:, None, None, None]

    def shuffled(seed: int) -> FeatureBatches:
        return FeatureBatches(features, 3, torch.Generator().manual_seed(seed))

    assert order(FeatureBatches(features, 3)) == [[0, 1, 2], [3, 4, 5], [6]]
    batches = shuffled(5)
    assert len(batches) == 3
    first, second = order(batches), order(batches)
    for epoch in (first, second):
        assert [len(batch) for batch in epoch] == [3, 3, 1]
        assert sorted(clip for batch in epoch for clip in batch) == list(range(7))
    assert first != second
    torch.manual_seed(99)
    again = shuffled(5)
    assert (order(again), order(again)) == (first, second)
    assert order(shuffled(6)) != first


def test_batches_hold_whole_clips(make_features: Any) -> None:
    features = make_features(clips=5)
    batches = list(FeatureBatches(features, 2, torch.Generator().manual_seed(0)))
    indices = torch.randperm(5, generator=torch.Generator().manual_seed(0))
    for name, array in features.arrays().items():
        found = torch.cat([batch.arrays()[name] for batch in batches])
        assert torch.equal(found, array[indices]), name


@pytest.mark.parametrize(
    ("share", "free", "total", "there"),  # in sizes of both splits together
    [
        (1.0, 2, 10, True),
        (1.0, 1.99, 10, False),  # room for one split
        (0.5, 4, 4, True),
        (0.25, 8, 8, True),  # a place of four, which has started first
        (0.25, 7.9, 7.9, False),
        (0.25, 1.9, 16, False),
    ],
)
def test_features_go_to_the_device_where_its_share_has_room_for_all_of_them(
    make_features: Any, monkeypatch: pytest.MonkeyPatch, share: float, free: float, total: float, there: bool
) -> None:
    splits = make_features(clips=4), make_features(clips=2)
    size = sum(array.nbytes for features in splits for array in features.arrays().values())
    moved: list[torch.device] = []

    def move(self: StaticFeatures, device: torch.device) -> StaticFeatures:
        moved.append(device)
        return self

    monkeypatch.setattr(StaticFeatures, "to", move)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (int(free * size), int(total * size)))
    found = to_device_if_room(splits, torch.device("cuda"), share)
    assert moved == [torch.device("cuda")] * 2 * there
    assert all(one is other for one, other in zip(found, splits, strict=True))


def test_features_stay_without_a_gpu(make_features: Any) -> None:
    features = make_features()
    (found,) = to_device_if_room([features], CPU)
    assert found is features


@pytest.mark.gpu
def test_batches_from_the_device_are_those_of_the_host(make_features: Any) -> None:
    features = make_features(clips=5)
    (there,) = to_device_if_room([features], torch.device("cuda"))
    assert there.layer2.is_cuda
    pairs = zip(*(FeatureBatches(form, 2, torch.Generator().manual_seed(0)) for form in (features, there)), strict=True)
    for expected, found in pairs:
        assert all(torch.equal(found.arrays()[name].cpu(), array) for name, array in expected.arrays().items())


@pytest.mark.parametrize("size", [(50, 70), (64, 96), (77, 33)])
def test_scores_are_those_of_the_frames_themselves(
    tmp_path: Path, network: StaticSegmenter, source: SyntheticStreet, size: tuple[int, int]
) -> None:
    """Frames resized, masks as they are: a plane's size, rounded up, no longer tells that of its frame."""
    transform = resized(size)
    features, _ = cached(tmp_path, network, source, transform)
    assert features.frame == size
    assert features.take(torch.tensor([1])).frame == size
    torch.manual_seed(1)
    cell = DynamicCell(GENOTYPE)
    module = CellModule(cell, network.decoder.classifier, CellTraining())
    found = module.score(FeatureBatches(features, 2)).whole
    segmenter = VideoSegmenter(network, CellPropagation(cell, network.decoder.classifier)).eval()
    confusion = ConfusionMatrix(len(source.classes))
    for index in INDICES:
        clip = transform(source[index])
        segmenter.reset()
        for frame, mask in list(zip(clip.frames, clip.masks, strict=True)):
            labels = segmenter.step(frame, size=(mask.shape[-2], mask.shape[-1]))
            if segmenter.distance:
                confusion.update(labels, mask)
    assert found.miou == pytest.approx(confusion.scores().miou, abs=1e-3)


def test_a_cache_of_another_geometry_is_not_found(
    tmp_path: Path, network: StaticSegmenter, source: SyntheticStreet
) -> None:
    transform = resized((33, 65))
    key = cache_key(network, source, (2,), transform, "fp32")
    older = hashlib.sha256(json.dumps(["channels last", *key]).encode()).hexdigest()[:20]
    cached(tmp_path, network, source, transform, (2,))
    (tmp_path / key.digest).rename(tmp_path / older)
    assert cached(tmp_path, network, source, transform, (2,))[1] == 3  # computed anew
