"""What becomes of labelled frames: a table, an overlay, label maps."""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from fractions import Fraction
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from vseg_nas.errors import RunError
from vseg_nas.files import flush, partial_of
from vseg_nas.video.labeller import Colour
from vseg_nas.video.labelling import Labelled

Sink = Callable[[Labelled], None]
FRAMES_FILE = "frames.csv"
OVERLAY_FILE = "overlay.mp4"
LABELS_FOLDER = "labels"
_COLUMNS = ("frame", "name", "time_s", "kind", "ms", "changed")


def full_palette(palette: tuple[Colour, ...]) -> NDArray[np.uint8]:
    """(256, 3): the colours of the classes, black for other ids."""
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = palette
    return colours


@contextmanager
def frame_table(path: Path) -> Iterator[Sink]:
    """A CSV file with one row a frame, each on disk as soon as the frame is labelled.

    Raises:
        RunError: the disk is full.
    """
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(_COLUMNS)
            index = 0

            def sink(labelled: Labelled) -> None:
                nonlocal index
                frame, changed = labelled.frame, labelled.changed
                kind = "key" if labelled.key else "dynamic"
                share = "" if changed is None else f"{changed:.6f}"
                writer.writerow((index, frame.name, f"{float(frame.time):.6f}", kind, f"{labelled.ms:.3f}", share))
                file.flush()
                index += 1

            yield sink
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror or error})") from error


@contextmanager
def overlay_video(
    path: Path,
    size: tuple[int, int],
    rate: Fraction,
    time_base: Fraction,
    pixel_aspect: Fraction,
    palette: NDArray[np.uint8],
    opacity: float,
) -> Iterator[Sink]:
    """A video of the frames under the colours of their labels; it gets its name once it is whole.

    What was written before an error or Ctrl-C is a video that plays.
    """
    from vseg_nas.video.overlay import VideoWriter, blend

    partial = partial_of(path)
    writer = VideoWriter(partial, size, rate, time_base, pixel_aspect)
    try:
        yield lambda labelled: writer.write(
            blend(labelled.frame.image, labelled.labels, palette, opacity), labelled.frame.time
        )
    finally:
        writer.close()
        flush(partial)
        partial.replace(path)


@contextmanager
def label_maps(folder: Path, palette: NDArray[np.uint8]) -> Iterator[Sink]:
    """PNG files with a palette: their values are class ids, and viewers show the colours.

    Raises:
        RunError: the disk is full.
    """
    folder.mkdir()
    colours = palette.reshape(-1).tolist()

    def sink(labelled: Labelled) -> None:
        image = PillowImage.fromarray(labelled.labels)
        image.putpalette(colours)
        path = folder / f"{labelled.frame.name}.png"
        try:
            image.save(path, compress_level=3)
        except OSError as error:
            raise RunError(f"{path}: cannot be written ({error.strerror or error})") from error

    yield sink
