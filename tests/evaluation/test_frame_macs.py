"""MACs of frames against the sum over their parts."""

import pytest
import torch
from torch import nn

from vseg_nas.evaluation.frame_macs import frame_macs
from vseg_nas.models.cell import DynamicCell
from vseg_nas.models.complexity import count_macs
from vseg_nas.models.propagation import AverageOverTime, CellPropagation, CopyPrevious, EachFrame, WarpPrevious
from vseg_nas.models.settings import Past
from vseg_nas.models.static import StaticSegmenter
from vseg_nas.models.video_segmenter import VideoSegmenter
from vseg_nas.space.hand_written import HAND_WRITTEN

SIZE = (64, 96)
PLANES = ((1, 320, 2, 3), (1, 64, 8, 12), (1, 32, 8, 12), (1, 96, 4, 6), (1, 320, 2, 3))
"""What the cell reads, for frames of `SIZE`."""


@pytest.fixture(scope="module")
def static() -> StaticSegmenter:
    return StaticSegmenter(("road", "sky", "car"), auxiliary=False)


@pytest.fixture(scope="module")
def static_macs(static: StaticSegmenter) -> int:
    return count_macs(static, (1, 3, *SIZE))


@pytest.mark.parametrize(("past", "flow"), [("previous", True), ("zero", False), ("current", False)])
def test_a_dynamic_frame_is_encoder_cell_and_classifier(
    static: StaticSegmenter, static_macs: int, past: Past, flow: bool
) -> None:
    cell = DynamicCell(HAND_WRITTEN["local_filters"])
    segmenter = VideoSegmenter(static, CellPropagation(cell, nn.Conv2d(64, 3, 3, padding=1), past, flow))
    whole = count_macs(static.encoder, (1, 3, *SIZE))
    last_stage = count_macs(static.encoder.stages[3], PLANES[3])  # local filters read nothing of it
    decoder = static_macs - whole if past == "current" else 0
    encoder = whole if past == "current" else whole - last_stage
    classifier = 3 * 64 * 9 * 8 * 12
    assert frame_macs(segmenter, SIZE) == (static_macs, encoder + decoder + count_macs(cell, *PLANES) + classifier)


@pytest.mark.parametrize(
    ("propagation", "whole_networks"),
    [(CopyPrevious(), 0), (WarpPrevious(), 0), (AverageOverTime(), 1), (AverageOverTime(flow=True), 1)],
)
def test_what_a_cell_has_to_beat_runs_the_static_network_or_nothing(
    static: StaticSegmenter, static_macs: int, propagation: nn.Module, whole_networks: int
) -> None:
    assert frame_macs(VideoSegmenter(static, propagation), SIZE) == (static_macs, whole_networks * static_macs)


def test_there_are_key_frames_alone_and_a_video_under_way_goes_on(static: StaticSegmenter, static_macs: int) -> None:
    segmenter = VideoSegmenter(static, EachFrame()).eval()
    segmenter.step(torch.zeros(3, *SIZE))
    assert frame_macs(segmenter, SIZE) == (static_macs, None)
    segmenter.step(torch.zeros(3, *SIZE))
    assert segmenter.distance == 1
