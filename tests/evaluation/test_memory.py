"""Peak memory of tensors against sums by hand."""

import pytest
import torch
from torch import Tensor

from vseg_nas.evaluation.memory import TensorMemory, peak_memory
from vseg_nas.models.propagation import CopyPrevious, FrameState
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.models.video_segmenter import VideoSegmenter

BLOCK = 4096  # bytes of 1024 floats


def test_what_lives_at_one_time_counts() -> None:
    before = torch.zeros(1024)
    with TensorMemory() as memory:
        first = before + 1
        second = first + first
        assert memory.peak == 2 * BLOCK
        del first
        third = second + 1
        assert memory.peak == 2 * BLOCK
        torch.cat([second, third])
        assert memory.peak == 4 * BLOCK
        second = second * 2
    assert memory.peak == 4 * BLOCK


def test_views_and_work_in_place_cost_nothing() -> None:
    with TensorMemory() as memory:
        first = torch.zeros(1024)
        view = first.view(32, 32)
        del first
        view.add_(1).t().relu_()
        assert memory.peak == BLOCK
        view.contiguous()
        view.t().contiguous()
    assert memory.peak == 2 * BLOCK


def test_outputs_in_tuples_and_lists_count() -> None:
    with TensorMemory() as memory:
        values, _ = torch.zeros(1024).sort()
    assert memory.peak == BLOCK + BLOCK + 2 * BLOCK  # zeros, values, int64 indices
    assert values.shape == (1024,)


def test_tensors_from_before_count_if_named() -> None:
    weights = torch.zeros(1024)
    with TensorMemory((weights, weights[:512])) as memory:
        assert memory.peak == BLOCK
        weights.view(2, 512) + 1
    assert memory.peak == 2 * BLOCK


class Plain(VideoSegmenter):
    """Key frames give a state of known size; others keep it."""

    def key(self, frame: Tensor) -> FrameState:
        cells = frame.shape[-2] // 8, frame.shape[-1] // 8
        return FrameState(frame, frame, torch.zeros(1, 8, *cells), torch.zeros(1, 5, *cells))


def test_the_peak_of_a_video_has_weights_frames_state_and_logits_at_full_size() -> None:
    segmenter = Plain(StaticSegmenter(("road", "sky"), auxiliary=False), CopyPrevious())
    segmenter.step(torch.zeros(3, 32, 32))  # of another video
    weights = sum(t.numel() * t.element_size() for t in (*segmenter.parameters(), *segmenter.buffers()))
    frames = 2 * 3 * 128 * 128 * 4
    state = (8 + 5) * 16 * 16 * 4
    logits, ids = 5 * 128 * 128 * 4, 128 * 128 * (8 + 4)  # with the greatest logits beside them
    found = peak_memory(segmenter, torch.zeros(2, 3, 128, 128))
    assert found == pytest.approx((weights + frames + state + logits + ids) / 2**20, abs=1e-9)
    segmenter.step(torch.zeros(3, 32, 32))  # refused unless it begins a video: no state is left
    assert segmenter.distance == 0
