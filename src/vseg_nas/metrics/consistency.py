"""Temporal consistency of predictions over runs of successive frames, as defined with the VSPW data set.

Every metric comes in two forms: `correct` is the definition we defend, `reference` the computation of the scripts
that the VSPW authors published (VC_perclip.py, TC_cal.py), quirks included, for comparison with printed numbers.
Frames are fed one by one; what is remembered does not grow with the run.

Legend: P_t prediction, G_t truth, F flow, N frames of a run, n frames of a window, K classes, H, W.
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
"""Seconds; over longer steps too little of the scene is seen twice for flow to mean anything."""


@dataclass(frozen=True)
class ConsistencyResult:
    """A consistency, over all runs.

    Attributes:
        value: fraction in 0..1.
        windows: the number of windows that it covers: of n frames for VC, of two (pairs) for TC.
    """

    value: float
    windows: int


class VideoConsistency:
    """VC_n: how much of what stands still in the truth also stands still in the prediction.

    A window is n successive frames of one run, S its pixels whose truth is constant over the window. VC of a window is
    the share of S where the prediction is consistent; VC_n is the mean over the windows of all runs together. Windows
    with an empty S are left out.

    `correct`: all N - n + 1 windows of a run; void (255) never belongs to S; consistent means constant and equal to
    the truth, so right in all n frames.

    `reference`: the first N - n windows (the script's loop ends one short, so a run of n frames has none); constant
    void belongs to S; consistent means constant, right or wrong.

    Args:
        n: frames of a window; the published numbers use 8 and 16.
        form: which of the two.
    """

    def __init__(self, n: int, form: Form) -> None:
        self.n = n
        self.form = form
        self._sum = 0.0
        self._windows = 0
        self.start_run()

    def start_run(self) -> None:
        """The next frame does not follow the last one."""
        self._truth = _Stillness()
        self._prediction = _Stillness()

    def update(self, prediction: Tensor, truth: Tensor) -> None:
        """Adds the next frame of the run.

        Args:
            prediction: (H, W) class ids.
            truth: (H, W) class ids or 255.

        Raises:
            ValueError: the two are of different sizes.
        """
        if prediction.shape != truth.shape:
            raise ValueError(f"prediction {tuple(prediction.shape)} and truth {tuple(truth.shape)} differ in size")
        if self.form == "reference":  # a window counts once a further frame follows: the last one never does
            self._count(self._truth.over(self.n), self._prediction.over(self.n))
        self._truth.update(truth)
        self._prediction.update(prediction)
        if self.form == "correct":
            still = self._truth.over(self.n) & (truth != IGNORE)
            self._count(still, self._prediction.over(self.n) & (prediction == truth))

    def result(self) -> ConsistencyResult:
        """VC_n of everything seen so far.

        Raises:
            ValueError: no window was seen.
        """
        if not self._windows:
            raise ValueError(f"no window of {self.n} frames with constant truth was seen")
        return ConsistencyResult(self._sum / self._windows, self._windows)

    def _count(self, still: Tensor, consistent: Tensor) -> None:
        """Adds a window, unless its S is empty; before the nth frame of a run it is."""
        area = int(still.sum())
        if area:
            self._sum += int((still & consistent).sum()) / area
            self._windows += 1


class TemporalConsistency:
    """TC along optical flow: mIoU of each prediction with the previous one, moved onto it.

    One confusion matrix over the pairs of all runs, with P_t as truth and W(P_{t-1}) as prediction, where
    W(P_{t-1})(x) = P_{t-1}(x + F(x)) and F leads from t back to t-1. TC is the mean IoU over classes with pixels in
    P_t. Classes are never compared with labels, and nothing is left out for being hidden in the other frame; pixels
    without a class (255) in either frame are, which only a truth has.

    `correct`: the nearest pixel; pixels whose source lies outside the previous frame are left out. Equal maps
    and zero flow give exactly 1.

    `reference`: the script's sampling. It scales x to 2x / (W-1) - 1 and samples with align_corners=False, so reads
    at x W / (W-1) - 1/2 (y likewise), half a pixel off at the borders, halves rounded to even; what falls outside
    the frame becomes class 0. With zero flow an even W loses its last column so, an even H its last row.

    The script warps P_{t+1} onto P_t along flow from t to t+1. That is the same computation with the two frames
    exchanged: a run fed from its last frame to its first, each with flow to the frame fed before, gives the
    script's number. Fed forwards, the pairs are the same, but each is compared in the view of its later frame.
    The flow is the caller's; the script's is RAFT, so name the flow beside every number.

    Args:
        num_classes: K.
        form: which of the two.
    """

    def __init__(self, num_classes: int, form: Form) -> None:
        self.form = form
        self._confusion = ConfusionMatrix(num_classes)
        self._pairs = 0
        self.start_run()

    def start_run(self) -> None:
        """The next frame does not follow the last one."""
        self._previous: Tensor | None = None

    def update(self, prediction: Tensor, flow: Tensor | None) -> None:
        """Adds the next frame of the run.

        Args:
            prediction: (H, W) class ids in 0..K-1, or 255 where there is none.
            flow: (2, H, W) in pixels, from this frame back to the previous one, or None for the first of a run.

        Raises:
            ValueError: there is flow for the first frame of a run, or none for a later one.
        """
        if (flow is None) != (self._previous is None):
            raise ValueError("flow: expected none for the first frame of a run, and one for every later frame")
        previous, self._previous = self._previous, prediction.clone()
        if previous is None or flow is None:
            return
        moved = (_moved if self.form == "correct" else _moved_by_script)(previous, flow)
        unknown = moved == IGNORE
        moved, truth = moved.masked_fill(unknown, 0), prediction.long().masked_fill(unknown, IGNORE)
        if self.form == "correct":
            truth = truth.masked_fill(~inside(flow[None])[0], IGNORE)
        self._confusion.update(moved, truth)
        self._pairs += 1

    def result(self) -> ConsistencyResult:
        """TC of everything seen so far.

        Raises:
            ValueError: no pixel was compared.
        """
        matrix = self._confusion.counts.cpu().double()
        if not matrix.any():
            raise ValueError("no pixel was compared along flow")
        hits, now, before = matrix.diag(), matrix.sum(1), matrix.sum(0)
        iou = hits / (now + before - hits)
        return ConsistencyResult(iou[now > 0].mean().item(), self._pairs)


def vc_refusal(
    n: int, run_lengths: Sequence[int], all_labelled: bool, seconds_between_frames: float | None
) -> str | None:
    """Says in one line why VC_n cannot be computed in both forms, or None if it can.

    Args:
        n: frames of a window.
        run_lengths: successive frames in each run.
        all_labelled: whether every frame of the runs has a truth.
        seconds_between_frames: time from a frame to the next; None if it is not known.
    """
    if seconds_between_frames is not None and seconds_between_frames > LONGEST_STEP:
        limit = f"VC{n} needs successive frames at most {LONGEST_STEP:g} s apart"
        return f"{limit}, and they are {seconds_between_frames:g} s apart"
    if not all_labelled:
        return f"VC{n} needs the truth of every frame of a run, and only some frames are labelled"
    longest = max(run_lengths, default=0)
    if longest <= n:
        return f"VC{n} needs a run of more than {n} successive frames, and the longest has {longest}"
    return None


def tc_refusal(seconds_between_frames: float | None) -> str | None:
    """Says in one line why TC along flow means nothing, or None if it does mean something.

    Args:
        seconds_between_frames: time from a frame to the next; None if it is not known.
    """
    limit = f"TC along optical flow needs successive frames at most {LONGEST_STEP:g} s apart"
    if seconds_between_frames is None:
        return f"{limit}, and their distance is not known"
    if seconds_between_frames > LONGEST_STEP:
        return f"{limit}, and they are {seconds_between_frames:g} s apart"
    return None


class _Stillness:
    """For how many frames each pixel has kept its id: all that windows of any length need to know."""

    def __init__(self) -> None:
        self._ids: Tensor | None = None
        self._frames = torch.zeros((), dtype=torch.int32)  # becomes (H, W)

    def update(self, ids: Tensor) -> None:
        """Adds a frame, (H, W)."""
        if self._ids is None:
            self._frames = torch.ones_like(ids, dtype=torch.int32)
        else:
            self._frames = torch.where(ids == self._ids, self._frames + 1, 1)
        self._ids = ids.clone()

    def over(self, n: int) -> Tensor:
        """Where the id was the same in the last n frames: (H, W) bool, all false before there are n."""
        return self._frames >= n


def _moved(previous: Tensor, flow: Tensor) -> Tensor:
    return warp(previous[None, None].long(), flow[None], "nearest")[0, 0]


def _moved_by_script(previous: Tensor, flow: Tensor) -> Tensor:
    """Warp as TC_cal.py does it."""
    height, width = previous.shape
    x = torch.arange(width, device=flow.device) + flow[0]
    y = torch.arange(height, device=flow.device).unsqueeze(1) + flow[1]
    grid = torch.stack([2 * x / max(width - 1, 1) - 1, 2 * y / max(height - 1, 1) - 1], dim=-1)
    ids = previous[None, None].float()
    return functional.grid_sample(ids, grid[None], mode="nearest", align_corners=False)[0, 0].long()
