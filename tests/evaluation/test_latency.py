"""Times of frames against a scripted clock: what is timed, in which order, and what becomes of it."""

import pytest
import torch
from torch import Tensor, nn

from vseg_nas.evaluation.latency import Latency, measure, now, random_frames
from vseg_nas.models.cell import DynamicCell
from vseg_nas.models.propagation import CellPropagation, CopyPrevious, FrameState
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.models.video_segmenter import VideoSegmenter
from vseg_nas.results.scores import Quartiles
from vseg_nas.space.hand_written import HAND_WRITTEN

CPU = torch.device("cpu")
CLASSES = ("road", "sky", "car")


class Scripted(VideoSegmenter):
    """Its n-th frame takes n milliseconds on a clock of its own."""

    def __init__(self, key_every: int | None = None) -> None:
        super().__init__(StaticSegmenter(CLASSES, auxiliary=False), CopyPrevious(), key_every)
        self.calls: list[tuple[str, Tensor]] = []
        self.clock = 0.0

    def key(self, frame: Tensor) -> FrameState:
        return self._labelled("static", frame)

    def follow(self, state: FrameState, frame: Tensor) -> FrameState:
        return self._labelled("dynamic", frame)

    def _labelled(self, kind: str, frame: Tensor) -> FrameState:
        self.calls.append((kind, frame))
        self.clock += len(self.calls) / 1e3
        return FrameState(frame, frame, frame, frame)


@pytest.fixture
def frames() -> Tensor:
    return random_frames((64, 96), CPU)


def scripted(monkeypatch: pytest.MonkeyPatch, key_every: int | None = None) -> Scripted:
    segmenter = Scripted(key_every)
    monkeypatch.setattr("vseg_nas.evaluation.latency.now", lambda device: segmenter.clock)
    return segmenter


def test_an_average_mixes_the_two_times_of_each_pair() -> None:
    latency = Latency((10.0, 20.0, 60.0), (4.0, 2.0, 0.0))
    assert latency.average(2) == (7.0, 11.0, 30.0)
    assert latency.average(5) == pytest.approx((5.2, 5.6, 12.0))
    assert latency.average(1) == latency.static
    assert latency.average(10**9) == pytest.approx(latency.dynamic, abs=1e-6)


def test_key_frames_alone_have_no_average() -> None:
    with pytest.raises(ValueError, match="key frames alone"):
        Latency((1.0,), None).average(2)


def test_quartiles_of_samples_in_any_order() -> None:
    assert Quartiles.of((5.0, 1.0, 4.0, 2.0, 30.0)) == Quartiles(median=4.0, low=2.0, high=5.0)
    assert Quartiles.of((1.0, 2.0)) == Quartiles(median=1.5, low=1.25, high=1.75)
    assert Quartiles.of((3.0,)) == Quartiles(median=3.0, low=3.0, high=3.0)


def test_static_and_dynamic_frames_take_turns_and_the_warm_up_is_left_out(
    monkeypatch: pytest.MonkeyPatch, frames: Tensor
) -> None:
    segmenter, ticks = scripted(monkeypatch), []
    latency = measure(segmenter, frames, repeats=3, warmup=2, tick=lambda: ticks.append(len(segmenter.calls)))
    assert latency.static == pytest.approx((5, 7, 9))
    assert latency.dynamic == pytest.approx((6, 8, 10))
    assert [kind for kind, _ in segmenter.calls] == 5 * ["static", "dynamic"]
    for number, (_, frame) in enumerate(segmenter.calls):
        assert torch.equal(frame, frames[number % 2][None])
    assert ticks == [2, 4, 6, 8, 10]


def test_a_network_of_key_frames_has_no_dynamic_ones(monkeypatch: pytest.MonkeyPatch, frames: Tensor) -> None:
    segmenter = scripted(monkeypatch, key_every=1)
    latency = measure(segmenter, frames, repeats=2, warmup=1)
    assert latency.static == pytest.approx((2, 3))
    assert latency.dynamic is None


def test_the_video_that_a_network_was_at_makes_no_difference(monkeypatch: pytest.MonkeyPatch, frames: Tensor) -> None:
    segmenter = scripted(monkeypatch)
    segmenter.step(torch.zeros(3, 32, 32))
    assert measure(segmenter, frames, repeats=1, warmup=1).static == pytest.approx((4,))
    segmenter.step(torch.zeros(3, 32, 32))  # refused unless it begins a video
    assert segmenter.distance == 0


def test_key_frames_run_the_decoder_others_the_cell_and_neither_keeps_gradients(frames: Tensor) -> None:
    cell = DynamicCell(HAND_WRITTEN["local_filters"])
    segmenter = VideoSegmenter(
        StaticSegmenter(CLASSES, auxiliary=False), CellPropagation(cell, nn.Conv2d(64, 3, 3, padding=1))
    ).eval()
    ran: list[str] = []

    def note(name: str, module: nn.Module) -> None:
        def hook(module: nn.Module, inputs: object, output: object) -> None:
            ran.append(name)
            assert not torch.is_grad_enabled()

        module.register_forward_hook(hook)

    for name, module in (("encoder", segmenter.static.encoder), ("decoder", segmenter.static.decoder), ("cell", cell)):
        note(name, module)
    latency = measure(segmenter, frames, repeats=2, warmup=1)
    assert ran == 3 * ["encoder", "decoder", "encoder", "cell"]
    assert latency.dynamic is not None
    assert all(time > 0 for time in latency.static + latency.dynamic)


def test_frames_are_two_and_always_the_same() -> None:
    state = torch.random.get_rng_state()
    frames = random_frames((40, 72), CPU)
    assert frames.shape == (2, 3, 40, 72)
    assert torch.equal(frames, random_frames((40, 72), CPU))
    assert not torch.equal(frames[0], frames[1])
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_clock_is_read_when_the_device_has_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    events: list[str] = []
    monkeypatch.setattr(torch.cuda, "synchronize", lambda device: events.append(f"{device} finished"))
    monkeypatch.setattr("vseg_nas.evaluation.latency.time.perf_counter", lambda: float(len(events)))
    assert now(CPU) == 0.0
    assert now(torch.device("cuda")) == 1.0
    assert events == ["cuda finished"]


@pytest.mark.gpu
def test_work_that_cuda_has_only_begun_counts_where_it_was_asked_for(frames: Tensor) -> None:
    class Slow(Scripted):
        def key(self, frame: Tensor) -> FrameState:
            torch.cuda._sleep(100_000_000)  # type: ignore[no-untyped-call]  # cycles: 40 ms at 2.5 GHz
            return super().key(frame)

    latency = measure(Slow().cuda(), frames.cuda(), repeats=3, warmup=1)
    assert latency.dynamic is not None
    assert min(latency.static) > 30
    assert max(latency.dynamic) < 20
