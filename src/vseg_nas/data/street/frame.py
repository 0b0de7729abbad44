"""One frame of a drive through a generated street: the painted scene, its exact mask, and the faults of the camera.

A fault lasts for a single frame, so the frames around it show what it hides.

Legend: H, W pixels, N polygons.
"""

import cv2
import numpy as np

from vseg_nas.data.street.objects import Floats, StreetClass
from vseg_nas.data.street.scene import VIEW, Scene
from vseg_nas.data.street.view import Flags, View, background, in_haze
from vseg_nas.labels import IGNORE
from vseg_nas.pictures import Image

_NEAR = 1.0
"""Corners that are nearer, in metres, are painted at this distance, where all but the road is outside the frame."""


def render(scene: Scene, time: float, size: tuple[int, int], rng: np.random.Generator) -> tuple[Image, Image]:
    """Draws one frame.

    Args:
        scene: The street and the drive.
        time: The time since the start of the drive, in steps (see `objects`).
        size: Height and width in pixels.
        rng: The random generator of the camera's faults, a new one for each frame.

    Returns:
        The image (H, W, 3) and its exact mask (H, W), which is 255 on the bonnet of the camera's own car.
    """
    view = View.at(scene, time, size)
    colours, labels = background(scene, view)
    on_ground = (labels == StreetClass.ROAD) | (labels == StreetClass.PAVEMENT)
    colours[_shadows(scene, view, time) & on_ground] *= 0.55
    canvas = np.dstack([np.clip(colours, 0, 255).astype(np.uint8), labels])
    _paint(canvas, scene, view, time)
    _bonnet(canvas)
    return photograph(canvas[..., :3], scene.light, rng), np.ascontiguousarray(canvas[..., 3])


def _shadows(scene: Scene, view: View, time: float) -> Flags:
    """Returns where the objects cast shadows on the ground, (H, W)."""
    layer = np.zeros((view.height, view.width), np.uint8)
    drift = scene.shapes.drift[:, None] * time
    x = scene.shapes.footprints[..., 0] + drift[..., 0]
    depth = scene.shapes.footprints[..., 2] + drift[..., 1] - view.z
    visible = (depth.max(1) > _NEAR) & (depth.min(1) < VIEW)
    pixels = view.project(x[visible], np.float32(0), np.maximum(depth[visible], _NEAR))
    for quad in pixels:
        cv2.fillConvexPoly(layer, quad, 1)
    return layer > 0


def _paint(canvas: Image, scene: Scene, view: View, time: float) -> None:
    """Paints all polygons on a canvas (H, W, 4) of RGB and class id.

    The farthest object comes first, so that nearer ones cover it in the image and in the mask alike.
    """
    shapes = scene.shapes
    foot_z, vx, vz, phase = shapes.foot.T
    foot = foot_z + vz * time - view.z
    depth = shapes.corners[..., 2] + (vz * time - view.z)[:, None]
    visible = np.flatnonzero((depth.max(1) > 1.2 * _NEAR) & (foot < VIEW))
    order = visible[np.argsort(-foot[visible], kind="stable")]
    swing = shapes.corners[order, :, 3] * np.sin(phase[order] + 1.3 * time)[:, None]
    x = shapes.corners[order, :, 0] + (vx[order] * time)[:, None] + swing
    pixels = view.project(x, shapes.corners[order, :, 1], np.maximum(depth[order], _NEAR))
    inside = (pixels[..., 0].max(1) >= 0) & (pixels[..., 0].min(1) < view.width)
    order, pixels = order[inside], pixels[inside]
    colours = in_haze(np.minimum(shapes.colours[order], 255), scene, np.maximum(foot[order], 0))
    for polygon, colour, label in zip(pixels, colours.tolist(), shapes.labels[order].tolist(), strict=True):
        cv2.fillConvexPoly(canvas, polygon, (*colour, label))


def _bonnet(canvas: Image) -> None:
    height, width = canvas.shape[:2]
    centre, axes = (width // 2, height), (int(0.4 * width), int(0.07 * height))
    cv2.ellipse(canvas, centre, axes, 0, 180, 360, (44, 46, 52, IGNORE), cv2.FILLED)


def photograph(image: Image, light: float, rng: np.random.Generator) -> Image:
    """Returns the picture that a cheap camera takes of a scene (H, W, 3).

    It has random exposure, tint, blur, smears on the lens, glare and noise.
    """
    height, width = image.shape[:2]
    gain = light * rng.normal(1, 0.08) * (0.5 if rng.random() < 0.12 else 1)
    tint = (gain * rng.normal(1, 0.025, 3)).astype(np.float32)
    if rng.random() < 0.15:
        image = cv2.blur(image, (max(width // 32, 2), max(width // 64, 1))).astype(np.uint8)
    colours: Floats = np.multiply(image, tint, dtype=np.float32)
    if rng.random() < 0.3:
        smeared = cv2.blur(colours, (width // 6, width // 6))
        colours += (smeared - colours) * _spot(height, width, rng)
    if rng.random() < 0.3:
        colours += 190 * _spot(height, width, rng)
    colours += np.float32(rng.uniform(5, 14)) * rng.standard_normal(colours.shape, np.float32)
    return np.clip(colours, 0, 255).astype(np.uint8)


def _spot(height: int, width: int, rng: np.random.Generator) -> Floats:
    """Returns a soft round spot at a random position, (H, W, 1) of values in 0..1."""
    y, x, radius = rng.uniform(0, height), rng.uniform(0, width), rng.uniform(0.1, 0.24) * width
    down = ((np.arange(height, dtype=np.float32) - y) / radius) ** 2
    across = ((np.arange(width, dtype=np.float32) - x) / radius) ** 2
    spot: Floats = (np.exp(-down)[:, None] * np.exp(-across)[None]).astype(np.float32)
    return spot[..., None]
