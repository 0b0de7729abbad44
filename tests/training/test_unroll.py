"""Clips of several frames: where gradients stop, and what damage does to the past that a cell starts from."""

from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from vseg_nas.data.feature_cache import StaticFeatures
from vseg_nas.models.cell import DynamicCell
from vseg_nas.models.propagation import CellPropagation, FrameState
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.models.video_segmenter import VideoSegmenter
from vseg_nas.space import SearchSpace
from vseg_nas.training.cell_module import CellModule
from vseg_nas.training.settings import CellTraining, Unroll
from vseg_nas.training.unroll import Damage

GENOTYPE = SearchSpace(1, 8).genotype([1, 2, 4, 4, 0])  # prev_dec + layer 2


def damage(**kinds: int) -> Damage:
    """Damage of four clips: the given one of each kind, and a shift by (1, -2) of clip `shift`."""
    flags = {kind: np.arange(4) == kinds.get(kind, -1) for kind in ("empty", "stale")}
    shift = np.zeros((4, 2), np.int64)
    if "shift" in kinds:
        shift[kinds["shift"]] = 1, -2
    return Damage(**flags, shift=shift)


def test_each_kind_damages_its_clips_alone() -> None:
    plane, later = torch.randn(4, 2, 6, 8), torch.arange(12).view(4, 3)
    one = damage(empty=0, stale=1, shift=2)
    past = one.past(plane, stride=8)
    assert past[0].eq(0).all()
    assert past[1].equal(plane[1])
    assert past[2, :, 1:, :-2].equal(plane[2, :, :-1, 2:])
    assert past[3].equal(plane[3])
    assert one.later(later).tolist() == [[0, 1, 2], [4, 5, 5], [6, 7, 8], [9, 10, 11]]


def test_a_shift_is_as_far_on_every_plane() -> None:
    """Eight values of dec, which has stride 8, are two of layer 4, which has stride 32."""
    shift = np.zeros((1, 2), np.int64)
    shift[0] = 8, -4
    one = Damage(np.zeros(1, bool), np.zeros(1, bool), shift)
    plane = torch.randn(1, 3, 5, 7)
    assert one.past(plane, stride=32).equal(plane.roll((2, -1), (-2, -1)))


def test_draws_have_the_share_and_all_kinds() -> None:
    drawn = Damage.draw(3000, 0.3, np.random.default_rng(0))
    kinds = [drawn.empty, drawn.stale, (drawn.shift != 0).any(1)]
    assert all(0.08 < kind.mean() < 0.12 for kind in kinds)
    assert (np.sum(kinds, 0) <= 1).all()
    assert abs(drawn.shift).max() == 4
    again = Damage.draw(3000, 0.3, np.random.default_rng(0))
    assert (drawn.shift == again.shift).all()
    assert not Damage.draw(3000, 0.0, np.random.default_rng(0)).empty.any()


def module(unroll: Unroll) -> CellModule:
    torch.manual_seed(0)
    training = CellTraining(epochs=1, batch_size=2, unroll=unroll)
    return CellModule(DynamicCell(GENOTYPE), nn.Conv2d(64, 5, 3, padding=1), training, seed=3)


def of_five_frames(make_features: Any, clips: int = 2) -> StaticFeatures:
    features: StaticFeatures = make_features(clips)

    def longer(planes: torch.Tensor) -> torch.Tensor:
        return torch.cat([planes, planes.flip(0)], 1)[:, :4]

    names = ("layer2", "layer3", "layer4", "masks")
    return features._replace(**{name: longer(getattr(features, name)) for name in names})


@pytest.mark.parametrize(("gradient_frames", "reaches"), [(None, [0, 1, 2, 3]), (2, [2, 3]), (3, [3]), (1, [3])])
def test_gradients_stop_where_pieces_begin(make_features: Any, gradient_frames: int | None, reaches: list[int]) -> None:
    """The last of four frames: the frames whose dec its loss can still change."""
    features, decs = of_five_frames(make_features).take(torch.arange(2)), []
    tested = module(Unroll(gradient_frames=gradient_frames)).eval()

    def keep(_: object, __: object, dec: torch.Tensor) -> None:
        dec.retain_grad()
        decs.append(dec)

    tested.cell.register_forward_hook(keep)
    *_, last = tested(features)
    last.sum().backward()
    assert [t for t, dec in enumerate(decs) if dec.grad is not None] == reaches


def test_damage_is_drawn_anew_for_every_batch_and_repeats(make_features: Any) -> None:
    features = of_five_frames(make_features, 8)
    damaged = module(Unroll(damaged=0.5))
    first, again, other = (damaged._damaged(features, batch) for batch in (0, 0, 1))
    assert first.key_dec.equal(again.key_dec)
    assert not first.key_dec.equal(other.key_dec)
    assert not first.key_dec.equal(features.key_dec)


def test_what_damage_is_for(make_features: Any) -> None:
    """The loss of a batch changes with damage, and scores never see it."""
    features = of_five_frames(make_features, 8)
    plain, damaged = module(Unroll()), module(Unroll(damaged=1.0))
    plain.log = damaged.log = lambda *_, **__: None  # type: ignore[method-assign]
    batch = features.take(torch.arange(8))
    assert plain.score([batch]) == damaged.score([batch])  # before batch norms learn from different batches
    assert plain.training_step(batch, 0) != damaged.training_step(batch, 0)


def test_a_video_network_unrolls_with_the_same_pieces_and_damage() -> None:
    torch.manual_seed(0)
    static = StaticSegmenter(("a", "b", "c")).eval()
    network = VideoSegmenter(static, CellPropagation(DynamicCell(GENOTYPE), static.decoder.classifier)).eval()
    clips = torch.randn(4, 4, 3, 32, 64)
    states = network(clips)
    changed = network(clips, None, damage(empty=0).state)
    assert changed[0].dec.equal(states[0].dec)  # the key frame itself is as it was
    assert not changed[1].dec[0].allclose(states[1].dec[0])
    torch.testing.assert_close(changed[1].dec[1:], states[1].dec[1:])
    reached: list[FrameState] = network(clips, 2)
    for state in reached:
        state.dec.retain_grad()
    torch.autograd.backward(reached[-1].pred.sum())
    assert [state.dec.grad is not None for state in reached] == [False, False, False, True]
