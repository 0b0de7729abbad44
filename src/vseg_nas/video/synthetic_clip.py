"""A drive through generated streets as a video file, for trying things out."""

from fractions import Fraction
from pathlib import Path

from vseg_nas.data.synthetic import FRAME_SECONDS, SyntheticStreet
from vseg_nas.video.overlay import VideoWriter


def write_clip(path: Path, frames: int = 50, size: tuple[int, int] = (360, 480), seed: int = 0) -> Path:
    """Writes frames of one drive; returns the path.

    Raises:
        RunError: the file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    clip = SyntheticStreet(1, frames, size, seed, "val", frames)[0]
    rate = 1 / Fraction(FRAME_SECONDS).limit_denominator(1000)
    writer = VideoWriter(path, size, rate, 1 / rate)
    for index, image in enumerate(clip.frames):
        writer.write(image, index / rate)
    writer.close()
    return path
