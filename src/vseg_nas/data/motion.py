"""Clips at video rate from labelled stills: the camera and objects move, and the last frame is the still itself.

Labelled video is rare: most data sets label one frame a second, or one of a snippet, where hardly anything of the
previous frame is of use. A still gives as many frames before it as one likes, each with its mask, since it is known
where each pixel lay.

Legend: T frames, H, W pixels. Lengths are shares of the frame's height, so that one setting serves every size.
"""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from vseg_nas.data.clip import Image, RawClip
from vseg_nas.labels import IGNORE

MOVABLE = frozenset({
    "bicycle", "bicyclist", "bus", "car", "motorcycle", "pedestrian", "person", "rider", "train", "truck",
})  # fmt: skip
"""Names of classes whose objects move by themselves in street scenes."""

Array = NDArray[np.float64]


@dataclass(frozen=True)
class Motion:
    """What moves from one frame to the next at 15 Hz. Standard deviations are over clips unless stated.

    The defaults were fitted to the labelled 15 Hz video of CamVid's val split (`benchmarks/motion.py`).

    Attributes:
        zoom: Standard deviation of the growth of the picture, as driving forwards makes it; never negative.
        shift: Standard deviation of the camera's pan, down and across, a frame.
        rotation: Standard deviation of its roll, in radians a frame.
        unsteadiness: Part of these three that is drawn again for every frame, as a share of their standard deviations.
        centre: Standard deviation of the point that the picture grows from, around a point slightly above its middle.
        objects: Most objects that move by themselves, the largest first.
        object_shift: Standard deviation of an object's own movement a frame, as a share of the square root of its area.
        object_zoom: Standard deviation of an object's own growth a frame.
        noise: Standard deviation of the noise of a pixel, in steps of 8 bits, drawn for every frame.
        gain: Standard deviation of a frame's brightness around 1, drawn for every frame.
        blur: Largest standard deviation of a frame's blur, in pixels, drawn for every frame.
    """

    zoom: float = 0.025
    shift: float = 0.005
    rotation: float = 0.003
    unsteadiness: float = 0.5
    centre: float = 0.1
    objects: int = 8
    object_shift: float = 0.06
    object_zoom: float = 0.02
    noise: float = 4.0
    gain: float = 0.03
    blur: float = 0.7


@dataclass(frozen=True)
class _Layer:
    """A part of the picture that moves on its own.

    Attributes:
        inside: (H, W) bool, the pixels of the still that are of it.
        paths: T matrices (3, 3), from places in a frame to places in the still.
    """

    inside: NDArray[np.bool_]
    paths: list[Array]


class Simulation:
    """Makes a clip of T frames from its last one.

    Args:
        frames: T.
        motion: How things move.
        classes: Names of the classes; those in `MOVABLE` have objects that move by themselves.
    """

    def __init__(self, frames: int, motion: Motion, classes: tuple[str, ...]) -> None:
        self.frames = frames
        self.motion = motion
        self._movable = [index for index, name in enumerate(classes) if name in MOVABLE]

    def __call__(self, frame: Image, mask: Image, name: str, rng: np.random.Generator) -> RawClip:
        """Draws a clip; equal generators give equal clips.

        Args:
            frame: (H, W, 3), uint8, RGB: the last frame.
            mask: (H, W), uint8: its mask.
            name: Its name.
            rng: Draws how things move.
        """
        camera = self._camera(mask.shape[0], mask.shape[1], rng)
        layers = [self._layer(inside, camera, rng) for inside in self._objects(mask)]
        behind, labels_behind = _uncovered(frame, mask, layers)
        frames, masks = [], []
        for t in range(self.frames):
            if t == self.frames - 1:
                moved, labels = frame, mask
            else:
                moved, labels = _warped(behind, labels_behind, camera[t])
                for layer in layers:
                    _paste(moved, labels, frame, mask, layer.inside, layer.paths[t])
            frames.append(self._exposed(moved, rng))
            masks.append(labels)
        return RawClip(tuple(frames), tuple(masks), (*[f"{name}-{d}" for d in range(self.frames - 1, 0, -1)], name))

    def _camera(self, height: int, width: int, rng: np.random.Generator) -> list[Array]:
        """Matrices from places in each frame to places in the still; the last one is the identity."""
        m = self.motion
        spread = np.array([m.zoom, m.shift * height, m.shift * height, m.rotation])
        steady = rng.normal(size=4) * spread
        steady[0] = abs(steady[0])
        centre = np.array([0.5 * width, 0.45 * height]) + rng.normal(size=2) * m.centre * height
        paths = [np.eye(3)]
        for _ in range(self.frames - 1):
            zoom, down, across, angle = steady + m.unsteadiness * rng.normal(size=4) * spread
            paths.append(paths[-1] @ _about(centre, 1 + max(zoom, -0.5), angle, (across, down)))
        return paths[::-1]

    def _objects(self, mask: Image) -> list[NDArray[np.bool_]]:
        """The largest connected parts of movable classes, the farthest first: its lower edge is the highest."""
        found = []
        least = mask.size // 2000
        for label in self._movable:
            count, parts, boxes, _ = cv2.connectedComponentsWithStats((mask == label).astype(np.uint8))
            found += [
                (boxes[i, cv2.CC_STAT_AREA], boxes[i, cv2.CC_STAT_TOP] + boxes[i, cv2.CC_STAT_HEIGHT], parts == i)
                for i in range(1, count)
                if boxes[i, cv2.CC_STAT_AREA] >= least
            ]
        largest = sorted(found, key=lambda part: -part[0])[: self.motion.objects]
        return [inside for _, _, inside in sorted(largest, key=lambda part: part[1])]

    def _layer(self, inside: NDArray[np.bool_], camera: list[Array], rng: np.random.Generator) -> _Layer:
        """An object that moves with the camera and by itself, mostly across."""
        m = self.motion
        rows, columns = np.nonzero(inside)
        foot = np.array([columns.mean(), rows.max()])
        across, down = rng.normal(size=2) * m.object_shift * np.sqrt(len(rows)) * (1.0, 0.3)
        step = _about(foot, 1 + rng.normal() * m.object_zoom, 0.0, (across, down))
        own, paths = np.eye(3), []
        for path in camera[::-1]:
            paths.append(own @ path)
            own = own @ step
        return _Layer(inside, paths[::-1])

    def _exposed(self, frame: Image, rng: np.random.Generator) -> Image:
        """A frame as another moment of the same camera would have it: gain, blur and noise of its own."""
        m = self.motion
        sigma = rng.uniform(0, m.blur) if m.blur else 0.0
        seen = cv2.GaussianBlur(frame, (0, 0), sigma) if sigma > 0.2 else frame
        noise = rng.standard_normal(frame.shape, np.float32) * m.noise
        exposed: Image = np.clip(seen * (1 + rng.normal() * m.gain) + noise + 0.5, 0, 255).astype(np.uint8)
        return exposed


def _about(centre: Array, scale: float, angle: float, shift: tuple[float, float]) -> Array:
    """From places of a frame to those of the next one, (3, 3): scaled and turned about a centre, then shifted."""
    cos, sin = scale * np.cos(angle), scale * np.sin(angle)
    turned = np.array([[cos, -sin], [sin, cos]])
    matrix = np.eye(3)
    matrix[:2, :2] = turned
    matrix[:2, 2] = centre - turned @ centre + shift
    return matrix


def _warped(frame: Image, mask: Image, path: Array) -> tuple[Image, Image]:
    """What a frame shows whose places lie at `path` in the given one; beyond its border nothing is labelled."""
    size = mask.shape[1], mask.shape[0]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    seen = cv2.warpAffine(frame, path[:2], size, flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    nearest = cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP
    labels = cv2.warpAffine(mask, path[:2], size, flags=nearest, borderValue=(IGNORE,))
    return np.asarray(seen, np.uint8), np.asarray(labels, np.uint8)


def _paste(moved: Image, labels: Image, frame: Image, mask: Image, inside: NDArray[np.bool_], path: Array) -> None:
    """Draws an object of the still where it was, in place."""
    size = mask.shape[1], mask.shape[0]
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    cover = cv2.warpAffine(inside.astype(np.float32), path[:2], size, flags=flags)[..., None]
    colours = cv2.warpAffine(frame, path[:2], size, flags=flags, borderMode=cv2.BORDER_REFLECT_101)
    moved[:] = np.rint(cover * colours + (1 - cover) * moved)
    there = cv2.warpAffine(
        np.where(inside, mask, IGNORE), path[:2], size, flags=cv2.INTER_NEAREST | cv2.WARP_INVERSE_MAP,
        borderValue=(IGNORE,),
    )  # fmt: skip
    np.copyto(labels, there, where=there != IGNORE)


def _uncovered(frame: Image, mask: Image, layers: list[_Layer]) -> tuple[Image, Image]:
    """The still without its moving objects: what they hide is filled from around them."""
    if not layers:
        return frame, mask
    hidden = np.logical_or.reduce([layer.inside for layer in layers]).astype(np.uint8)
    hidden = cv2.dilate(hidden, np.ones((3, 3), np.uint8))  # the edge of an object is a mixture of both
    if hidden.all():
        return frame, mask
    _, nearest = cv2.distanceTransformWithLabels(hidden, cv2.DIST_L2, 5, labelType=cv2.DIST_LABEL_PIXEL)
    source = np.zeros(nearest.max() + 1, np.intp)
    outside = hidden == 0
    source[nearest[outside]] = np.flatnonzero(outside)
    places = source[nearest]
    filled = frame.reshape(-1, 3)[places]
    soft = cv2.GaussianBlur(filled, (0, 0), max(1.0, mask.shape[0] / 90))
    filled = np.where(outside[..., None], frame, soft)
    return filled, mask.reshape(-1)[places]
