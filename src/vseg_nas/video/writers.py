"""Writers of predictions: a table of the frames, an overlay video, and label maps."""

import csv
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from fractions import Fraction
from io import BytesIO, StringIO
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PillowImage

from vseg_nas.errors import RunError
from vseg_nas.labels import Colour
from vseg_nas.runs.files import Unbuffered, as_run_error, printable, write_bytes
from vseg_nas.video.prediction import Prediction

Sink = Callable[[Prediction], None]
FRAMES_FILE = "frames.csv"
OVERLAY_FILE = "overlay.mp4"
LABELS_FOLDER = "labels"
_COLUMNS = ("frame", "name", "time_s", "kind", "ms", "changed")


def full_palette(palette: tuple[Colour, ...]) -> NDArray[np.uint8]:
    """Returns (256, 3) uint8: the colours of the classes, and black for all other ids."""
    colours = np.zeros((256, 3), np.uint8)
    colours[: len(palette)] = palette
    return colours


@contextmanager
def frame_table(path: Path) -> Iterator[Sink]:
    """Writes a CSV file with one row per frame. Each row is complete in the file as soon as the frame is predicted.

    Raises:
        RunError: The disk is full.
    """
    with as_run_error(path):
        file = Unbuffered(path, "x")
    index = 0

    def write(*row: object) -> None:
        line = StringIO()
        csv.writer(line, lineterminator="\n").writerow(row)
        with as_run_error(path):
            whole = file.tell()
            try:
                file.write(printable(line.getvalue()).encode())
            except OSError:  # the disk is full, and a part of the row may have been written
                file.truncate(whole)
                raise

    def sink(prediction: Prediction) -> None:
        nonlocal index
        frame, changed = prediction.frame, prediction.changed
        kind = "key" if prediction.key else "dynamic"
        share = "" if changed is None else f"{changed:.6f}"
        write(index, frame.name, f"{float(frame.time):.6f}", kind, f"{prediction.ms:.3f}", share)
        index += 1

    with file:
        write(*_COLUMNS)
        yield sink


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
    """Writes a video of the frames under the colours of their labels; it gets its name once it is whole.

    What was written before another error, a signal or Ctrl-C can be played.

    Raises:
        RunError: The disk is full.
    """
    from vseg_nas.video.overlay import VideoWriter, blend

    writer = VideoWriter(path, size, rate, time_base, pixel_aspect)
    try:
        yield lambda prediction: writer.write(
            blend(prediction.frame.image, prediction.labels, palette, opacity), prediction.frame.time
        )
    except BaseException:
        with suppress(RunError):  # the error that ended the prediction is the one to report
            writer.close()
        raise
    writer.close()


@contextmanager
def label_maps(folder: Path, palette: NDArray[np.uint8]) -> Iterator[Sink]:
    """Writes PNG files with a palette: their values are class ids, and image viewers show the colours.

    Raises:
        RunError: The disk is full.
    """
    with as_run_error(folder):
        folder.mkdir()
    colours = palette.reshape(-1).tolist()

    def sink(prediction: Prediction) -> None:
        image, content = PillowImage.fromarray(prediction.labels), BytesIO()
        image.putpalette(colours)
        image.save(content, format="PNG", compress_level=3)
        write_bytes(folder / f"{prediction.frame.name}.png", content.getvalue(), durable=False)

    yield sink
