"""Temporal consistency of predictions over sequences of successive frames, as defined with the VSPW data set.

Every metric has two forms. `correct` is the definition that we defend. `reference` is the computation of the scripts
that the VSPW authors published (VC_perclip.py, TC_cal.py), quirks included, for comparison with published numbers.
Frames are added one by one, and the memory needed does not grow with the sequence.

Legend: P_t prediction, G_t truth, F flow, N frames of a sequence, n frames of a window, K classes, H, W.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor
from torch.nn import functional

from vseg_nas.flow import inside, warp
from vseg_nas.labels import IGNORE
from vseg_nas.metrics.confusion import ConfusionMatrix

Form = Literal["correct", "reference"]

LONGEST_STEP = 0.2
"""Longest time between frames in seconds; over longer steps, flow finds too little of the scene in both frames."""


@dataclass(frozen=True)
class ConsistencyResult:
    """A consistency over all sequences.

    Attributes:
        value: The consistency as a fraction in 0..1.
        windows: The number of windows that were compared, of n frames for VC and of two (pairs) for TC.
    """

    value: float
    windows: int


class VideoConsistency:
    """VC_n: how much of what stands still in the truth also stands still in the prediction.

    A window is n successive frames of one sequence, and S is the set of its pixels whose truth is constant over the
    window. VC of a window is the share of S where the prediction is consistent. VC_n is the mean over the windows of
    all sequences together. Windows with an empty S are left out.

    `correct`: all N - n + 1 windows of a sequence count; ignored pixels (255) never belong to S; consistent means
    constant and equal to the truth, so right in all n frames.

    `reference`: the first N - n windows count, because the loop of the script ends one short; a sequence of n frames
    has none. Pixels that are ignored throughout belong to S; consistent means constant, whether right or wrong.

    Args:
        n: The number of frames of a window; the published numbers use 8 and 16.
        form: The form of the metric.
    """

    def __init__(self, n: int, form: Form) -> None:
        self.n = n
        self.form = form
        self._sum = 0.0
        self._windows = 0
        self.start_sequence()

    def start_sequence(self) -> None:
        """Starts a new sequence: the next frame does not follow the last one."""
        self._truth = _Stillness()
        self._prediction = _Stillness()

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Adds the next frame of the sequence.

        Args:
            prediction: (H, W) class ids.
            truth: (H, W) class ids or 255.

        Raises:
            ValueError: The two differ in size.
        """
        if prediction.shape != truth.shape:
            raise ValueError(f"prediction {tuple(prediction.shape)} and truth {tuple(truth.shape)} differ in size")
        if self.form == "reference":  # counted before the frame is added, so a window without a further frame is not
            self._count(self._truth.over(self.n), self._prediction.over(self.n))
        self._truth.update(truth)
        self._prediction.update(prediction)
        if self.form == "correct":
            still = self._truth.over(self.n) & (truth != IGNORE)
            self._count(still, self._prediction.over(self.n) & (prediction == truth))

    def result(self) -> ConsistencyResult:
        """Returns VC_n of all frames so far.

        Raises:
            ValueError: There was no window with a non-empty S.
        """
        if not self._windows:
            raise ValueError(f"no window of {self.n} frames with constant truth was seen")
        return ConsistencyResult(self._sum / self._windows, self._windows)

    def _count(self, still: Tensor, consistent: Tensor) -> None:
        """Adds a window whose S is `still`, unless S is empty, as it is before the nth frame of a sequence."""
        area = int(still.sum())
        if area:
            self._sum += int((still & consistent).sum()) / area
            self._windows += 1


class TemporalConsistency:
    """TC along optical flow: mIoU of each prediction with the previous prediction, warped onto it.

    There is one confusion matrix over the pairs of all sequences, with P_t as truth and W(P_{t-1}) as prediction.
    W(P_{t-1})(x) = P_{t-1}(x + F(x)), where F leads from t back to t-1. TC is the mean IoU over classes with pixels in
    P_t. The truth does not enter, so a wrong class can be consistent. Occluded pixels are not left out. Pixels that are
    ignored (255) in either frame are left out; they only occur if the maps are truths instead of predictions.

    `correct`: W takes the nearest pixel; pixels whose source lies outside the previous frame are left out. Equal maps
    and zero flow give exactly 1.

    `reference`: W samples as the script does. It scales x to 2x / (W-1) - 1 and samples with align_corners=False, so it
    reads at x W / (W-1) - 1/2 (y alike), which is half a pixel off at the borders, and halves are rounded to even. What
    falls outside the frame becomes class 0: with zero flow, that is the last column of an even W and the last row of an
    even H.

    The script warps P_{t+1} onto P_t along flow from t to t+1, which is the same computation with the two frames
    exchanged. To get the script's number, add a sequence from its last frame to its first, each with flow to the frame
    added before. Added forwards, the pairs are the same, but each is compared in the view of its later frame. The
    caller computes the flow; the script uses RAFT, so the flow has to be named beside every number.

    Args:
        num_classes: The number of classes, K.
        form: The form of the metric.
    """

    def __init__(self, num_classes: int, form: Form) -> None:
        self.form = form
        self._confusion = ConfusionMatrix(num_classes)
        self._pairs = 0
        self.start_sequence()

    def start_sequence(self) -> None:
        """Starts a new sequence: the next frame does not follow the last one."""
        self._previous: Tensor | None = None

    def update(self, prediction: Tensor, flow: Tensor | None) -> None:
        """Adds the next frame of the sequence.

        Args:
            prediction: (H, W) class ids in 0..K-1, or 255 where a pixel is to be ignored.
            flow: (2, H, W) in pixels, from this frame back to the previous one; None for the first frame of a sequence.

        Raises:
            ValueError: There is flow for the first frame of a sequence, or none for a later one.
        """
        if (flow is None) != (self._previous is None):
            raise ValueError("flow: expected none for the first frame of a sequence, and one for every later frame")
        previous, self._previous = self._previous, prediction.clone()
        if previous is None or flow is None:
            return
        if self.form == "correct":
            warped = warp(previous[None, None].long(), flow[None], "nearest")[0, 0]
        else:
            warped = _warp_by_script(previous, flow)
        ignored = warped == IGNORE
        warped, truth = warped.masked_fill(ignored, 0), prediction.long().masked_fill(ignored, IGNORE)
        if self.form == "correct":
            truth = truth.masked_fill(~inside(flow[None])[0], IGNORE)
        self._confusion.update(warped, truth)
        self._pairs += 1

    def result(self) -> ConsistencyResult:
        """Returns TC of all frames so far.

        Raises:
            ValueError: No pixel was compared.
        """
        matrix = self._confusion.counts.cpu().double()
        if not matrix.any():
            raise ValueError("no pixel was compared along flow")
        hits, now, before = matrix.diag(), matrix.sum(1), matrix.sum(0)
        iou = hits / (now + before - hits)
        return ConsistencyResult(iou[now > 0].mean().item(), self._pairs)


def vc_skip_reason(
    n: int, sequence_lengths: Sequence[int], all_labelled: bool, seconds_between_frames: float | None
) -> str | None:
    """Returns one line that says why VC_n cannot be computed in both forms; None if it can.

    Args:
        n: The number of frames of a window.
        sequence_lengths: The number of successive frames in each sequence.
        all_labelled: Whether every frame of the sequences has a truth.
        seconds_between_frames: The time from a frame to the next; None if it is not known.
    """
    if seconds_between_frames is not None and seconds_between_frames > LONGEST_STEP:
        limit = f"VC{n} needs successive frames at most {LONGEST_STEP:g} s apart"
        return f"{limit}, and they are {seconds_between_frames:g} s apart"
    if not all_labelled:
        return f"VC{n} needs the truth of every frame of a sequence, and only some frames are labelled"
    longest = max(sequence_lengths, default=0)
    if longest <= n:
        return f"VC{n} needs a sequence of more than {n} successive frames, and the longest has {longest}"
    return None


def tc_skip_reason(seconds_between_frames: float | None) -> str | None:
    """Returns one line that says why TC along flow would mean nothing; None if it is meaningful.

    Args:
        seconds_between_frames: The time from a frame to the next; None if it is not known.
    """
    limit = f"TC along optical flow needs successive frames at most {LONGEST_STEP:g} s apart"
    if seconds_between_frames is None:
        return f"{limit}, and their distance is not known"
    if seconds_between_frames > LONGEST_STEP:
        return f"{limit}, and they are {seconds_between_frames:g} s apart"
    return None


class _Stillness:
    """Counts for how many frames each pixel has kept its class id, which is all that windows of any length need."""

    def __init__(self) -> None:
        self._ids: Tensor | None = None
        self._frames = torch.zeros((), dtype=torch.int32)  # becomes (H, W)

    def update(self, ids: Tensor) -> None:
        """Adds the class ids (H, W) of a frame."""
        if self._ids is None:
            self._frames = torch.ones_like(ids, dtype=torch.int32)
        else:
            self._frames = torch.where(ids == self._ids, self._frames + 1, 1)
        self._ids = ids.clone()

    def over(self, n: int) -> Tensor:
        """Returns where the id was the same in the last n frames, (H, W) bool; all are false before there are n."""
        return self._frames >= n


def _warp_by_script(previous: Tensor, flow: Tensor) -> Tensor:
    """Warps class ids (H, W) along flow (2, H, W) as TC_cal.py does."""
    height, width = previous.shape
    x = torch.arange(width, device=flow.device) + flow[0]
    y = torch.arange(height, device=flow.device).unsqueeze(1) + flow[1]
    grid = torch.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], dim=-1)
    ids = previous[None, None].float()
    return functional.grid_sample(ids, grid[None], mode="nearest", align_corners=False)[0, 0].long()
