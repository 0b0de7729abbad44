"""A drive through generated streets as a video file, for trying out `predict`."""

from fractions import Fraction
from pathlib import Path

from vseg_nas.data.synthetic import STEP_SECONDS, SyntheticStreet
from vseg_nas.video.overlay import VideoWriter


def write_clip(path: Path, frames: int = 50, size: tuple[int, int] = (360, 480), seed: int = 0) -> Path:
    """Writes a video of one drive.

    Args:
        path: The file to write.
        frames: The number of frames.
        size: Height and width in pixels.
        seed: The seed of the street and the drive.

    Returns:
        The path of the file.

    Raises:
        RunError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    clip = SyntheticStreet(1, frames, size, seed, "val", frames)[0]
    rate = 1 / Fraction(STEP_SECONDS).limit_denominator(1000)
    writer = VideoWriter(path, size, rate, 1 / rate)
    for index, image in enumerate(clip.frames):
        writer.write(image, index / rate)
    writer.close()
    return path
