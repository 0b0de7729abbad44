"""Clips at video rate from single labelled frames: the camera and objects move, and the labelled frame is the last.

Labelled video is rare: most data sets label one frame a second, or one frame of a snippet, and a second later hardly
anything of the previous frame is of use. A single frame gives as many frames before it as one likes, each with its
mask, because it is known where every pixel was.

Legend: T frames, H, W pixels. A matrix (3, 3) maps positions in one frame, as (x, y, 1), to positions in another one.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vseg_nas.data.clip import RawClip
from vseg_nas.data.settings import MotionSettings
from vseg_nas.labels import IGNORE
from vseg_nas.pictures import Image

MOVABLE = frozenset({
    "bicycle", "bicyclist", "bus", "car", "motorcycle", "pedestrian", "person", "rider", "train", "truck",
})  # fmt: skip
"""The names of classes whose objects move by themselves in street scenes."""

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_LINEAR = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
_NEAREST = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
_SMALLEST_OBJECT = 1 / 2000  # share of the frame's pixels; below that a component is no object but a scrap of labels
_HORIZON = 0.45  # share of the height at which the picture grows from, on average: where a street vanishes
_LEAST_BLUR = 0.2  # standard deviation in pixels below which a blur changes nothing


@dataclass(frozen=True)
class _Object:
    """An object that moves by itself.

    Attributes:
        inside: (H, W) the pixels of the labelled frame that belong to it.
        to_last: T matrices, from positions in each frame to those in the labelled frame.
    """

    inside: Flags
    to_last: list[Floats]


class MotionSimulation:
    """Makes a clip of T frames from a single labelled frame, which becomes its last one.

    Args:
        frames: The number of frames in a clip, T.
        motion: What moves, and how far.
        classes: The names of the classes; objects of those in `MOVABLE` move by themselves.
    """

    def __init__(self, frames: int, motion: MotionSettings, classes: Sequence[str]) -> None:
        self.frames = frames
        self.motion = motion
        self._movable = [index for index, name in enumerate(classes) if name in MOVABLE]

    def fingerprint(self) -> str:
        """Returns all parameters as text."""
        motion = self.motion.model_dump(exclude={"share"})
        return f"{self.frames} frames of {motion}, {self._movable} move by themselves"

    def __call__(self, last: RawClip, rng: np.random.Generator) -> RawClip:
        """Draws a clip; generators in equal states give equal clips.

        Args:
            last: A clip of one frame.
            rng: The generator of the motion, the noise, the gain and the blur.
        """
        frame, mask, name = last.frames[0], last.masks[0], last.names[0]
        camera = self._camera(mask.shape[0], mask.shape[1], rng)
        objects = [self._object(inside, camera, rng) for inside in self._moving_parts(mask)]
        background, background_mask = _without_objects(frame, mask, objects)
        frames, masks = [], []
        for t in range(self.frames - 1):
            moved, labels = _warped(background, background_mask, camera[t])
            for one in objects:
                _paste(moved, labels, frame, mask, one.inside, one.to_last[t])
            frames.append(moved)
            masks.append(labels)
        exposed = tuple(self._exposed(moved, rng) for moved in (*frames, frame))
        names = (*(f"{name}-{distance}" for distance in range(self.frames - 1, 0, -1)), name)
        return RawClip(exposed, (*masks, mask), names)

    def _camera(self, height: int, width: int, rng: np.random.Generator) -> list[Floats]:
        """Returns T matrices from positions in each frame to those in the last one."""
        motion = self.motion
        deviations = np.array([motion.zoom, motion.shift * height, motion.shift * height, motion.rotation])
        steady = rng.normal(size=4) * deviations
        steady[0] = abs(steady[0])
        centre = np.array([width / 2, _HORIZON * height]) + rng.normal(size=2) * motion.centre * height
        to_last = [np.eye(3)]
        for _ in range(self.frames - 1):
            zoom, down, across, angle = steady + motion.unsteadiness * rng.normal(size=4) * deviations
            to_last.append(to_last[-1] @ _similarity(centre, 1 + max(zoom, -0.5), angle, (across, down)))
        return to_last[::-1]

    def _moving_parts(self, mask: Image) -> list[Flags]:
        """Returns the largest connected components of movable classes, from the farthest to the nearest.

        An object is the nearer the lower its lower edge lies in the frame.
        """
        found = []
        for label in self._movable:
            count, components, boxes, _ = cv2.connectedComponentsWithStats((mask == label).astype(np.uint8))
            found += [
                (boxes[i, cv2.CC_STAT_AREA], boxes[i, cv2.CC_STAT_TOP] + boxes[i, cv2.CC_STAT_HEIGHT], components == i)
                for i in range(1, count)
                if boxes[i, cv2.CC_STAT_AREA] >= _SMALLEST_OBJECT * mask.size
            ]
        largest = sorted(found, key=lambda part: -part[0])[: self.motion.objects]
        return [inside for _, _, inside in sorted(largest, key=lambda part: part[1])]

    def _object(self, inside: Flags, camera: list[Floats], rng: np.random.Generator) -> _Object:
        """Returns an object that moves with the camera and by itself, mostly across."""
        rows, columns = np.nonzero(inside)
        foot = np.array([columns.mean(), rows.max()])
        across, down = rng.normal(size=2) * self.motion.object_shift * np.sqrt(len(rows)) * (1.0, 0.3)
        step = _similarity(foot, 1 + rng.normal() * self.motion.object_zoom, 0.0, (across, down))
        own, to_last = np.eye(3), []
        for matrix in camera[::-1]:
            to_last.append(own @ matrix)
            own = own @ step
        return _Object(inside, to_last[::-1])

    def _exposed(self, frame: Image, rng: np.random.Generator) -> Image:
        """Returns a frame as the camera takes it at another moment, with gain, blur and noise of its own."""
        motion = self.motion
        deviation = rng.uniform(0, motion.blur)
        seen = cv2.GaussianBlur(frame, (0, 0), deviation) if deviation > _LEAST_BLUR else frame
        noise = rng.standard_normal(frame.shape, np.float32) * motion.noise
        gain = 1 + rng.normal() * motion.gain
        return np.clip(seen * gain + noise + 0.5, 0, 255).astype(np.uint8)  # + 0.5, since the cast rounds down


def _similarity(centre: Floats, scale: float, angle: float, shift: tuple[float, float]) -> Floats:
    """Returns the matrix that scales and turns positions about a centre and then shifts them by (across, down)."""
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    turn = np.array([[cos, -sin], [sin, cos]])
    matrix = np.eye(3)
    matrix[:2, :2] = turn
    matrix[:2, 2] = centre - turn @ centre + shift
    return matrix


def _warped(frame: Image, mask: Image, to_last: Floats) -> tuple[Image, Image]:
    """Returns the frame and mask of a moment from those of the last one; beyond their border nothing is labelled."""
    size = mask.shape[1], mask.shape[0]
    seen = cv2.warpAffine(frame, to_last[:2], size, flags=_LINEAR, borderMode=cv2.BORDER_REFLECT_101)
    labels = cv2.warpAffine(mask, to_last[:2], size, flags=_NEAREST, borderValue=(IGNORE,))
    return np.asarray(seen, np.uint8), np.asarray(labels, np.uint8)


def _paste(moved: Image, labels: Image, frame: Image, mask: Image, inside: Flags, to_last: Floats) -> None:
    """Draws an object of the last frame where it was at another moment, in place."""
    size = mask.shape[1], mask.shape[0]
    cover = cv2.warpAffine(inside.astype(np.float32), to_last[:2], size, flags=_LINEAR)[..., None]
    colours, own_labels = _warped(frame, np.where(inside, mask, np.uint8(IGNORE)), to_last)
    np.copyto(moved, np.rint(cover * colours + (1 - cover) * moved), casting="unsafe")
    np.copyto(labels, own_labels, where=own_labels != IGNORE)


def _without_objects(frame: Image, mask: Image, objects: Sequence[_Object]) -> tuple[Image, Image]:
    """Returns the last frame and its mask without the objects; what they hide is filled from around them."""
    inside = np.zeros(mask.shape, np.uint8)
    for one in objects:
        inside[one.inside] = 1
    hidden = cv2.dilate(inside, np.ones((3, 3), np.uint8))  # pixels at the edge of an object are mixtures of both
    if not hidden.any() or hidden.all():
        return frame, mask
    _, nearest = cv2.distanceTransformWithLabels(hidden, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    visible = hidden == 0
    source = np.zeros(nearest.max() + 1, np.intp)  # the pixel that stands behind each of OpenCV's numbers
    source[nearest[visible]] = np.flatnonzero(visible)
    pixels = source[nearest]
    # Copies of single pixels make stripes, which a network would learn as the mark of what was hidden.
    soft = cv2.GaussianBlur(frame.reshape(-1, 3)[pixels], (0, 0), max(1.0, mask.shape[0] / 90))
    return np.where(visible[..., None], frame, soft), mask.reshape(-1)[pixels]
