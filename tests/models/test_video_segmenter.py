"""The video network step by step against whole clips, its baselines and its files."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from tests.builders import video_spec
from vseg_nas.errors import DataError
from vseg_nas.models.cell import DynamicCell
from vseg_nas.models.layers import label_map
from vseg_nas.models.mobilenet_v2 import EncoderOutput
from vseg_nas.models.propagation import (
    AverageOverTime,
    CellPropagation,
    CopyPrevious,
    EachFrame,
    FrameState,
    WarpPrevious,
)
from vseg_nas.models.segmenter_file import PREFIX, SPEC, SegmenterSpec, load_segmenter, save_segmenter
from vseg_nas.models.settings import Past
from vseg_nas.models.static import StaticOutput, StaticSegmenter
from vseg_nas.models.video_segmenter import VideoSegmenter
from vseg_nas.models.weights import write_safetensors
from vseg_nas.space.hand_written import HAND_WRITTEN

CLASSES = ("road", "sky", "car")
SPECIFICATION = video_spec(classes=CLASSES, mean=(0.5,) * 3, std=(0.2,) * 3, size=(64, 96))


def note(path: Path) -> None:
    """The SHA-256 beside a checkpoint, as a training leaves it."""
    path.with_name(f"{path.name}.sha256").write_text(hashlib.sha256(path.read_bytes()).hexdigest() + "\n")


def smooth(frames: int, seed: int) -> Tensor:
    noise = torch.randn(frames, 3, 8, 12, generator=torch.Generator().manual_seed(seed))
    return nn.functional.interpolate(noise, (64, 96), mode="bicubic")


def settled(network: nn.Module, frames: Tensor) -> nn.Module:
    """With statistics of batch norms that fit its weights, or a fresh network labels all pixels alike."""
    norms = [module for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = 1.0
    with torch.no_grad():
        network.train()(frames)
    return network.eval()


@pytest.fixture(scope="module")
def static() -> StaticSegmenter:
    torch.manual_seed(0)
    network = StaticSegmenter(CLASSES, auxiliary=False)
    settled(network, smooth(8, seed=5))
    return network.freeze()


@pytest.fixture(scope="module")
def clip() -> Tensor:
    """(T, 3, H, W) of T = 4 smooth frames that differ."""
    return smooth(4, seed=1)


def cell_network(static: StaticSegmenter, past: Past = "previous", flow: bool = False) -> VideoSegmenter:
    torch.manual_seed(2)
    cell = DynamicCell(HAND_WRITTEN["gated_warp"])
    classifier = nn.Conv2d(64, len(CLASSES), 3, padding=1)
    settled(VideoSegmenter(static, CellPropagation(cell, classifier)), smooth(8, seed=6)[None])
    return VideoSegmenter(static, CellPropagation(cell, classifier, past, flow)).eval()


@pytest.mark.parametrize("flow", [False, True])
def test_steps_equal_the_whole_clip(static: StaticSegmenter, clip: Tensor, flow: bool) -> None:
    network = cell_network(static, flow=flow)
    with torch.no_grad():
        states = network(clip[None])
    full = [label_map(state.pred, (64, 96))[0] for state in states]
    steps = [network.step(frame) for frame in clip]
    assert all(torch.equal(a, b) for a, b in zip(full, steps, strict=True))
    assert len({tuple(labels.flatten().tolist()) for labels in steps}) == 4  # frames do tell apart


def test_a_batch_of_clips_is_its_clips(static: StaticSegmenter, clip: Tensor) -> None:
    network = cell_network(static)
    with torch.no_grad():
        both = network(torch.stack([clip, clip.flip(0)]))
        for index, alone in enumerate((clip, clip.flip(0))):
            for together, state in zip(both, network(alone[None]), strict=True):
                torch.testing.assert_close(together.pred[index], state.pred[0], rtol=1e-3, atol=1e-3)


def test_key_frames_run_the_decoder_and_others_do_not(
    static: StaticSegmenter, clip: Tensor, monkeypatch: pytest.MonkeyPatch
) -> None:
    network, calls = cell_network(static), []
    handle = static.decoder.register_forward_hook(lambda *_: calls.append(network.distance))
    network.key_every = 3
    for frame in (*clip, *clip):
        network.step(frame)
    assert len(calls) == 3  # frames 0, 3, 6
    assert network.distance == 1
    network.step(clip[0], key=True)
    assert (len(calls), network.distance) == (4, 0)
    network.reset().step(clip[0])
    assert (len(calls), network.distance) == (5, 0)
    handle.remove()


def test_reset_forgets(static: StaticSegmenter, clip: Tensor) -> None:
    network = cell_network(static)
    first = [network.step(frame) for frame in clip]
    network.reset()
    assert all(torch.equal(a, network.step(frame)) for a, frame in zip(first, clip, strict=True))


def test_another_size_needs_a_reset(static: StaticSegmenter, clip: Tensor) -> None:
    network = cell_network(static)
    network.step(clip[0])
    with pytest.raises(ValueError, match=r"found \(32, 96\), expected \(64, 96\)"):
        network.step(clip[0, :, :32])
    assert network.reset().step(clip[0, :, :32]).shape == (32, 96)
    with pytest.raises(ValueError, match="key_every"):
        VideoSegmenter(static, CopyPrevious(), key_every=0)


def test_labels_at_another_size(static: StaticSegmenter, clip: Tensor) -> None:
    labels = cell_network(static).step(clip[0], size=(128, 192))
    with torch.no_grad():
        pred = static(clip[:1]).pred
        expected = nn.functional.interpolate(pred, (128, 192), mode="bilinear").argmax(1)[0]
    assert torch.equal(labels, expected)


def test_past_decides_what_the_cell_reads(static: StaticSegmenter, clip: Tensor) -> None:
    """Controls do not depend on the previous frame; the current one as past is the pair (t, t)."""
    one, other = clip[:2], clip[2:]
    swapped = torch.stack([other[0], one[1]])

    def second(network: VideoSegmenter, frames: Tensor) -> Tensor:
        with torch.no_grad():
            pred: Tensor = network(frames[None])[1].pred
        return pred

    previous = cell_network(static)
    assert not torch.equal(second(previous, one), second(previous, swapped))
    for past in ("current", "zero"):
        control = cell_network(static, past)
        assert torch.equal(second(control, one), second(control, swapped))
    still = torch.stack([one[1], one[1]])
    torch.testing.assert_close(second(cell_network(static, "current"), one), second(previous, still))


def test_copied_labels_stay(static: StaticSegmenter, clip: Tensor) -> None:
    network = VideoSegmenter(static, CopyPrevious())
    first = network.step(clip[0])
    assert torch.equal(network.step(clip[1]), first)
    assert not torch.equal(network.step(clip[1], key=True), first)


def test_warped_labels_move_with_the_picture(static: StaticSegmenter) -> None:
    generator = torch.Generator().manual_seed(3)
    texture = nn.functional.interpolate(torch.randn(1, 3, 24, 32, generator=generator), (96, 128), mode="bicubic")[0]
    moved = texture.roll(8, dims=2)
    network = VideoSegmenter(static, WarpPrevious())
    first = network.step(texture)
    second = network.step(moved)
    middle = slice(24, -24)
    assert (second == first.roll(8, dims=1))[middle, middle].float().mean() > 0.9
    assert (second == first)[middle, middle].float().mean() < 0.85


def test_the_static_network_labels_each_frame_alike(static: StaticSegmenter, clip: Tensor) -> None:
    network = VideoSegmenter(static, EachFrame())
    followed = [network.step(frame) for frame in clip]
    assert network.distance == len(clip) - 1
    assert all(torch.equal(labels, network.step(frame, key=True)) for labels, frame in zip(followed, clip, strict=True))


class _Told(nn.Module):
    """A static network whose logits are the first plane of the frame, reduced to 1/8."""

    def forward(self, frame: Tensor) -> StaticOutput:
        plane = frame[:, :1, ::8, ::8]
        return StaticOutput(EncoderOutput(plane, plane, plane, plane), plane, plane, [])


def followed(propagation: nn.Module, frames: Sequence[Tensor]) -> Tensor:
    """Logits (1, 1, h, w) of the last frame."""
    static = _Told()
    first = static(frames[0])
    state = FrameState(frames[0], first.encoder.layer4, first.dec, first.pred)
    for frame in frames[1:]:
        state = propagation(static, state, frame)
    return state.pred


def test_logits_are_averaged_over_time() -> None:
    frames = [torch.full((1, 3, 16, 24), value) for value in (8.0, 4.0, -2.0, 0.0)]
    expected = ((8 / 2 + 4 / 2) / 2 - 2 / 2) / 2 + 0 / 2  # half of the frame, half of the average before
    torch.testing.assert_close(followed(AverageOverTime(), frames), torch.full((1, 1, 2, 3), expected))
    torch.testing.assert_close(followed(AverageOverTime(flow=True), frames), torch.full((1, 1, 2, 3), expected))


def test_logits_are_averaged_along_flow() -> None:
    generator = torch.Generator().manual_seed(3)
    texture = nn.functional.interpolate(torch.randn(1, 3, 12, 16, generator=generator), (96, 128), mode="bicubic")
    moved = texture.roll(8, dims=3)  # one step of the logits' plane
    now, middle = moved[:, :1, ::8, ::8], (..., slice(3, -3), slice(3, -3))
    still, along = (followed(AverageOverTime(flow), (texture, moved)) for flow in (False, True))
    errors = [(found - now)[middle].abs().mean().item() for found in (still, along)]
    assert errors[1] < errors[0] / 4


def test_a_static_network_round_trips_without_a_cell(clip: Tensor, tmp_path: Path) -> None:
    spec = replace(SPECIFICATION, name="fine-tuned", genotype=None, past=None)
    assert (spec.group, spec.expression, spec.method) == ("static, fine-tuned", "", ("static", None, False, "recipe"))
    torch.manual_seed(4)
    network = spec.build().eval()
    assert isinstance(network.propagation, EachFrame)
    assert not list(network.propagation.parameters())
    save_segmenter(network, spec, tmp_path / "video.safetensors")
    loaded, found = load_segmenter(tmp_path / "video.safetensors")
    assert found == spec
    assert all(torch.equal(network.static(frame[None]).pred, loaded.static(frame[None]).pred) for frame in clip)
    loaded.step(clip[0])
    loaded.step(clip[1])
    assert loaded.distance == 0  # all are key frames


@pytest.mark.parametrize("change", [{"past": "zero"}, {"flow": True}, {"past": "previous", "flow": True}])
def test_without_a_cell_nothing_reads_a_past(change: dict[str, Any]) -> None:
    plain = replace(SPECIFICATION, genotype=None, past=None).to_dict()
    with pytest.raises(ValueError, match=r"^past, flow: found values, expected null and false"):
        SegmenterSpec.from_dict(plain | change)


def test_a_cell_reads_a_past() -> None:
    with pytest.raises(ValueError, match=r"^past: found 'None', expected one of"):
        replace(SPECIFICATION, past=None)


def test_round_trip(static: StaticSegmenter, clip: Tensor, tmp_path: Path) -> None:
    torch.manual_seed(4)
    network = SPECIFICATION.build().eval()
    expected = [network.step(frame) for frame in clip]
    save_segmenter(network, SPECIFICATION, tmp_path / "video.safetensors")
    torch.save(
        {
            "state_dict": {PREFIX + name: value for name, value in network.state_dict().items()},
            "hyper_parameters": {SPEC: json.dumps(SPECIFICATION.to_dict())},
            "epoch": 3,
        },
        tmp_path / "last.ckpt",
    )
    note(tmp_path / "last.ckpt")
    for name in ("video.safetensors", "last.ckpt"):
        loaded, spec = load_segmenter(tmp_path / name)
        assert spec == SPECIFICATION
        assert not loaded.training
        assert all(torch.equal(a, loaded.step(frame)) for a, frame in zip(expected, clip, strict=True))


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("classes", ["a"]),
        ("classes", "abc"),
        ("classes", [1, 2, 3]),
        ("palette", [[0, 0, 0]]),
        ("palette", [[0, 0, 256]] * 3),
        ("palette", [0] * 9),
        ("genotype", {"format": 1}),
        ("past", "future"),
        ("flow", 1),
        ("mean", [0.5, 0.5]),
        ("std", [0.0, 0.2, 0.2]),
        ("size", [64]),
        ("size", 5),
        ("size", True),
        ("classes", ["a", "b", "c\x1b[31m"]),
        ("size", [64, -1]),
        ("name", "two\nlines"),
        ("seed", "0"),
        ("format", "vseg_nas.video/9"),
        ("extra", 1),
    ],
)
def test_a_foreign_spec_is_refused_in_one_line(tmp_path: Path, field: str, value: object) -> None:
    path = tmp_path / "video.safetensors"
    write_safetensors({"weight": torch.zeros(1)}, {SPEC: json.dumps(SPECIFICATION.to_dict() | {field: value})}, path)
    with pytest.raises(DataError) as error:
        load_segmenter(path)
    assert str(error.value).startswith(f"{path}: not a video network")
    assert "\n" not in str(error.value)


def test_unusable_files_are_named(tmp_path: Path) -> None:
    files = {name: tmp_path / name for name in ("missing.ckpt", "garbage.ckpt", "garbage.safetensors", "plain.ckpt")}
    misfit = tmp_path / "misfit.safetensors"
    for name in ("garbage.ckpt", "garbage.safetensors"):
        files[name].write_bytes(b"not weights at all")
    torch.save({"state_dict": {}}, files["plain.ckpt"])
    note(files["plain.ckpt"])
    note(files["garbage.ckpt"])
    smaller = replace(SPECIFICATION, classes=("a", "b"), palette=((0, 0, 0),) * 2)
    save_segmenter(smaller.build(), SPECIFICATION, misfit)
    for path in (*files.values(), misfit):
        with pytest.raises(DataError) as error:
            load_segmenter(path)
        assert str(path) in str(error.value)
        assert "\n" not in str(error.value)
