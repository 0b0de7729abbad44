"""How far simulated motion is from real motion: labels that change and optical flow, over 1, 2 and 5 frames at 15 Hz.

    python benchmarks/motion.py CAMVID [--clips 60] [KEY=VALUE ...]

Real: the labelled 15 Hz video of CamVid's val split. Simulated: clips of six frames from single frames of the train
split, by the defaults of `MotionSettings` or with the values given. Of each: the share of labelled pixels whose class
is another one in the later frame, the mIoU of labels that are copied from the earlier frame, and the median and 90 %
quantile of the length of DIS flow in pixels of the frame. A frame is one draw: seeds are the numbers of the clips.
"""

import argparse
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from vseg_nas.data import IGNORE, CamVid, RawClip, normalise
from vseg_nas.data.motion import MotionSimulation
from vseg_nas.data.settings import MotionSettings
from vseg_nas.flow import dis_flow

GAPS = (1, 2, 5)
FRAMES = max(GAPS) + 1


def real(root: Path, clips: int) -> Iterator[RawClip]:
    """Clips of successive frames."""
    source = CamVid(root, "val", FRAMES)
    for index in np.linspace(0, len(source) - 1, min(clips, len(source))).astype(int):
        yield source[index]


def simulated(root: Path, clips: int, motion: MotionSettings) -> Iterator[RawClip]:
    """Clips from single frames."""
    source = CamVid(root, "train", 1)
    simulation = MotionSimulation(FRAMES, motion, source.classes)
    for index in np.linspace(0, len(source) - 1, clips).astype(int):
        yield simulation(source[index], np.random.default_rng(index))


def figures(clips: Iterator[RawClip], classes: int) -> dict[int, tuple[float, float, float, float]]:
    """By gap: changed labels and copied mIoU in %, median and 90 % of the length of flow in pixels."""
    confusion = {gap: np.zeros((classes, classes), np.int64) for gap in GAPS}
    lengths: dict[int, list[NDArray[np.float32]]] = {gap: [] for gap in GAPS}
    for clip in clips:
        frames = normalise(np.stack(clip.frames))
        for gap in GAPS:
            before, after = clip.masks[-1 - gap], clip.masks[-1]
            seen = (before != IGNORE) & (after != IGNORE)
            pairs = after[seen].astype(int) * classes + before[seen]
            confusion[gap] += np.bincount(pairs, minlength=classes**2).reshape(classes, classes)
            flow = dis_flow(frames[-1:], frames[-1 - gap : -gap])[0].numpy()
            lengths[gap].append(np.hypot(*flow)[seen][::16])
    found = {}
    for gap in GAPS:
        table = confusion[gap]
        union = table.sum(0) + table.sum(1) - table.diagonal()
        miou = (table.diagonal()[union > 0] / union[union > 0]).mean()
        length = np.concatenate(lengths[gap])
        changed = 1 - table.trace() / table.sum()
        found[gap] = (100 * changed, 100 * miou, float(np.median(length)), float(np.quantile(length, 0.9)))
    return found


def main() -> None:
    """Prints a table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("camvid", type=Path)
    parser.add_argument("--clips", type=int, default=60)
    names = ", ".join(MotionSettings.model_fields)
    parser.add_argument("values", nargs="*", help=f"values of MotionSettings: {names}")
    options = parser.parse_args()
    given = (value.split("=", 1) for value in options.values)
    values: dict[str, Any] = {name: json.loads(value) for name, value in given}
    motion = MotionSettings(**values)
    print(f"{'':>12}  gap  changed, %  copied mIoU, %  flow, px: median   90 %")
    classes = len(CamVid(options.camvid, "val", 1).classes)
    for name, clips in (
        ("real", real(options.camvid, options.clips)),
        ("simulated", simulated(options.camvid, options.clips, motion)),
    ):
        for gap, (changed, miou, median, most) in figures(clips, classes).items():
            print(f"{name:>12}  {gap:>3}  {changed:>10.1f}  {miou:>14.1f}  {median:>16.1f}  {most:>5.1f}", flush=True)


if __name__ == "__main__":
    main()
