"""Temporal consistency of predictions along full sequences, in both forms, or the reason why it is not measured.

Legend: H, W pixels.
"""

import itertools
from typing import NamedTuple, Protocol

from torch import Tensor

from vseg_nas.evaluation.sequences import SplitSequences
from vseg_nas.flow import dis_flow, resize_flow
from vseg_nas.labels import IGNORE
from vseg_nas.metrics import ConsistencyResult, TemporalConsistency, VideoConsistency, tc_skip_reason, vc_skip_reason
from vseg_nas.metrics.temporal_consistency import Form
from vseg_nas.results.scores import AnyConsistency, Consistency, NotMeasured

FORMS: tuple[Form, ...] = ("correct", "reference")
VC_WINDOWS = (8, 16)
FLOW = "DIS (OpenCV)"


class BothFlows(NamedTuple):
    """Optical flow (1, 2, H, W) between two successive frames, in both directions."""

    to_previous: Tensor
    to_next: Tensor


class FlowStore:
    """Stores DIS flow between successive frames, so that it is computed once for all methods.

    Args:
        most_bytes: The most bytes of flow that are kept in memory; flow beyond that is computed each time.
    """

    def __init__(self, most_bytes: int = 2 * 2**30) -> None:
        self._most_bytes = most_bytes
        self._bytes = 0
        self._flows: dict[tuple[str, str], BothFlows] = {}

    def between(self, names: tuple[str, str], previous: Tensor, current: Tensor) -> BothFlows:
        """Returns the flow between two frames, (1, 3, H, W) each, which their names identify."""
        if names in self._flows:
            return self._flows[names]
        flows = BothFlows(dis_flow(current, previous), dis_flow(previous, current))
        size = sum(flow.nbytes for flow in flows)
        if self._bytes + size <= self._most_bytes:
            self._flows[names] = flows
            self._bytes += size
        return flows


class ConsistencyMeter:
    """Measures video consistency (VC) and temporal consistency (TC) in both forms.

    Args:
        split: The sequences whose frames will be given to `update`.
        flows: The flow between their frames.
    """

    def __init__(self, split: SplitSequences, flows: FlowStore) -> None:
        self._lengths = [len(sequence) for sequence in split.sequences]
        self._frame_seconds = split.frame_seconds
        self._flows = flows
        self._vc = {n: {form: VideoConsistency(n, form) for form in FORMS} for n in VC_WINDOWS}
        self._tc = {form: TemporalConsistency(len(split.classes), form) for form in FORMS}
        self._tc_skip_reason = tc_skip_reason(split.frame_seconds)
        self._previous: tuple[str, Tensor, Tensor] | None = None
        self._all_labelled = True

    def start_sequence(self) -> None:
        """Says that the next frame begins another sequence."""
        self._previous = None
        for vc in itertools.chain(*(forms.values() for forms in self._vc.values())):
            vc.start_sequence()

    def update(self, name: str, frame: Tensor, labels: Tensor, truth: Tensor) -> None:
        """Adds the next frame of the sequence.

        Args:
            name: The name of the frame.
            frame: (1, 3, H', W') the frame, normalised.
            labels: (H, W) the predicted class ids.
            truth: (H, W) the ground truth: class ids, or 255 for ignored pixels.
        """
        self._all_labelled &= bool((truth != IGNORE).any())
        if self._all_labelled:
            for vc in itertools.chain(*(forms.values() for forms in self._vc.values())):
                vc.update(labels, truth)
        if self._tc_skip_reason is None:
            if self._previous is not None:
                self._compare(self._previous, (name, frame, labels))
            self._previous = name, frame, labels

    def _compare(self, before: tuple[str, Tensor, Tensor], now: tuple[str, Tensor, Tensor]) -> None:
        """Adds two frames to TC: warped to the later one, or, as the published script does, to the earlier one."""
        (old_name, old_frame, old_labels), (name, frame, labels) = before, now
        flows = self._flows.between((old_name, name), old_frame, frame)
        views: dict[Form, tuple[Tensor, Tensor, Tensor]] = {
            "correct": (old_labels, labels, flows.to_previous),
            "reference": (labels, old_labels, flows.to_next),
        }
        for form, (first, second, flow) in views.items():
            tc = self._tc[form]
            tc.start_sequence()
            tc.update(first, None)
            tc.update(second, resize_flow(flow, labels)[0])

    def result(self) -> dict[str, AnyConsistency]:
        """Returns the metrics by name: vc8, vc16 and tc."""
        found: dict[str, AnyConsistency] = {}
        for n, forms in self._vc.items():
            skip_reason = vc_skip_reason(n, self._lengths, self._all_labelled, self._frame_seconds)
            found[f"vc{n}"] = _both(forms["correct"], forms["reference"], None, skip_reason)
        found["tc"] = _both(self._tc["correct"], self._tc["reference"], FLOW, self._tc_skip_reason)
        return found


class _Metric(Protocol):
    def result(self) -> ConsistencyResult: ...


def _both(correct: _Metric, reference: _Metric, flow: str | None, skip_reason: str | None) -> AnyConsistency:
    if skip_reason:
        return NotMeasured(skip_reason=skip_reason)
    try:
        found, by_script = correct.result(), reference.result()
    except ValueError as error:
        return NotMeasured(skip_reason=str(error))
    return Consistency(correct=found.value, reference=by_script.value, windows=found.windows, flow=flow)
