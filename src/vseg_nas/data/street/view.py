"""The camera of a generated street, and the background that its rays reach: sky, houses, road or pavement.

The camera does not roll. So all pixels of a column meet a house front at one depth, and all pixels of a row meet the
ground at one depth: most of the work is done for rows and columns instead of pixels.

Legend: H, W pixels; P points.
"""

import math
from dataclasses import dataclass
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray

from vseg_nas.data.street.objects import Floats, StreetClass
from vseg_nas.data.street.scene import ROAD, WALL, Houses, Scene

Flags = NDArray[np.bool_]
Indices = NDArray[np.intp]

EYE = 1.5
"""Height of the camera in metres."""
HAZE = 90.0
"""Distance in metres at which the haze replaces 63 % (1 - 1/e) of a colour."""
_FAR = 1e4
_GLASS = np.array((64, 78, 94), np.float32)
_LIT = np.array((226, 196, 128), np.float32)
_ASPHALT = np.array((0.98, 1.0, 1.03), np.float32)
_SLABS = np.array((1.04, 1.0, 0.94), np.float32)


@dataclass(frozen=True)
class View:
    """The camera at one moment.

    Attributes:
        height: The height of the frame in pixels.
        width: The width of the frame in pixels.
        x: The position across the street in metres.
        z: The position along the street in metres.
        yaw: The tangent of the angle to the direction of the street.
        focal: The focal length in pixels.
        horizon: The row of the horizon.
    """

    height: int
    width: int
    x: float
    z: float
    yaw: float
    focal: float
    horizon: float

    @classmethod
    def at(cls, scene: Scene, time: float, size: tuple[int, int]) -> "View":
        """Returns the camera at a time in steps; it sways within its lane and pitches with the road."""
        height, width = size
        angle = scene.sway + 0.35 * time
        return cls(
            height=height,
            width=width,
            x=1.5 + 0.3 * math.sin(angle),
            z=scene.speed * time,
            yaw=0.03 * math.cos(angle),
            focal=0.72 * width,
            horizon=height * (0.47 + 0.01 * math.sin(2.3 * angle)),
        )

    def project(self, x: Floats, y: Floats | np.float32, depth: Floats) -> NDArray[np.int32]:
        """Returns the pixels (..., 2) of points of the world.

        Args:
            x: (...) positions across the street in metres.
            y: (...) heights in metres.
            depth: (...) distances ahead of the camera in metres.
        """
        u = self.width / 2 + self.focal * ((x - self.x) / depth + self.yaw)
        v = self.horizon - self.focal * (y - EYE) / depth
        return np.rint(np.stack([u, v], axis=-1)).astype(np.int32)


class _Fronts(NamedTuple):
    """The walls that the W columns of pixels meet: a house front and, behind it, the end wall of the next house.

    Attributes:
        depth: (2, W) distances of the front and of the end wall, in metres.
        top: (2, W) their heights in metres; 0 where a side street begins.
        along: (2, W) the points where the columns meet them, in metres from the corner of the house.
        pitch: (2, W) distances from window to window, in metres.
        colour: (2, W, 3) RGB.
        mouth: (W,) whether the front is the mouth of a side street.
    """

    depth: Floats
    top: Floats
    along: Floats
    pitch: Floats
    colour: Floats
    mouth: Flags


def background(scene: Scene, view: View) -> tuple[Floats, NDArray[np.uint8]]:
    """Paints everything that is behind the objects.

    Returns:
        The colours (H, W, 3), RGB in 0..255 as floats, and the class ids (H, W).
    """
    columns = (np.arange(view.width, dtype=np.float32) - view.width / 2) / view.focal - view.yaw
    columns[columns == 0] = 1e-6
    rows = (view.horizon - np.arange(view.height, dtype=np.float32)) / view.focal

    fronts = _fronts(scene, view, columns)
    height = EYE + rows[:, None] * fronts.depth[0]
    end_height = EYE + rows[:, None] * fronts.depth[1]
    front = (height >= 0) & (height < fronts.top[0])
    beyond = (height >= fronts.top[0]) & (height >= 0)
    end = beyond & (end_height >= 0) & (end_height < fronts.top[1])
    side_street = beyond & fronts.mouth & (end_height < 0)

    colours = _sky(scene, view)
    labels = np.full((view.height, view.width), StreetClass.SKY, np.uint8)
    for layer, (mask, heights) in enumerate(((front, height), (end, end_height))):
        colours[mask] = _house(scene, fronts, layer, np.nonzero(mask)[1], heights[mask])
        labels[mask] = StreetClass.BUILDING
    ground = (height < 0) | side_street
    y, x = np.nonzero(ground)
    depth = (EYE / -rows[y]).astype(np.float32)
    across = view.x + columns[x] * depth
    road = side_street[ground] | (np.abs(across) < ROAD)
    colours[ground] = _ground(scene, road, across, depth, depth + view.z)
    labels[ground] = np.where(road, StreetClass.ROAD, StreetClass.PAVEMENT)
    return colours, labels


def _fronts(scene: Scene, view: View, columns: Floats) -> _Fronts:
    """Returns the house that each column meets, and the end wall of the next one."""
    left, right = (_side(houses, view, columns) for houses in scene.houses)
    on_right = columns > 0
    chosen = (
        np.where(on_right[:, None] if one.ndim == 3 else on_right, other, one)
        for one, other in zip(left, right, strict=True)
    )
    return _Fronts(*chosen)


def _side(houses: Houses, view: View, columns: Floats) -> _Fronts:
    """Returns what the columns would meet if all of them looked to this side of the street."""
    depth = np.minimum((np.where(columns > 0, WALL, -WALL) - view.x) / columns, _FAR)
    index = np.searchsorted(houses.edges, depth + view.z, side="right") - 1
    index = np.clip(index, 0, len(houses.heights) - 2)
    both = np.stack([index, index + 1])
    end_depth = np.maximum(houses.edges[both[1]] - view.z, depth)
    beyond_wall = np.abs(view.x + columns * end_depth) - WALL
    return _Fronts(
        depth=np.stack([depth, end_depth]).astype(np.float32),
        top=houses.heights[both],
        along=np.stack([depth + view.z - houses.edges[index], beyond_wall]).astype(np.float32),
        pitch=houses.pitch[both],
        colour=houses.colours[both] * np.array([[[1.0]], [[0.72]]], np.float32),
        mouth=houses.heights[index] == 0,
    )


def _house(scene: Scene, fronts: _Fronts, layer: int, column: Indices, height: Floats) -> Floats:
    """Returns the colours (P, 3) of points on house fronts (layer 0) or end walls (layer 1).

    Args:
        scene: The street.
        fronts: The walls that the columns meet.
        layer: 0 for house fronts, 1 for end walls.
        column: (P,) columns of the points.
        height: (P,) heights of the points in metres.
    """
    depth, along, pitch = (part[layer, column] for part in (fronts.depth, fronts.along, fronts.pitch))
    window, storey = along / pitch, height / 3
    cell, floor = np.floor(window), np.floor(storey)
    glass = (np.abs(window - cell - 0.46) < 0.26) & (np.abs(storey - floor - 0.55) < 0.25)
    glass &= height < fronts.top[layer, column] - 0.7
    detail = np.exp(-depth / 40)
    mood = _texture(scene, 7 * floor, 5 * cell)
    plaster = 0.05 * detail * _texture(scene, 3 * height, 3 * along) - 0.18 * (floor == 0)
    wall = fronts.colour[layer, column] * (1 + plaster)[:, None]
    panes = np.where(mood[:, None] > 1.2, _LIT, _GLASS) + 14 * mood[:, None]
    wall += (panes - wall) * (detail * glass)[:, None]
    return in_haze(wall, scene, depth)


def _ground(scene: Scene, road: Flags, x: Floats, depth: Floats, z: Floats) -> Floats:
    """Returns the colours (P, 3) of points of the ground.

    Args:
        scene: The street.
        road: (P,) whether the point belongs to the road; the other points belong to the pavement.
        x: (P,) positions across the street in metres.
        depth: (P,) distances ahead of the camera in metres.
        z: (P,) positions along the street in metres.
    """
    side, near = np.abs(x), np.exp(-depth / 25)
    grain = 7 * near * _texture(scene, 5 * z, 5 * x)
    dashes = (side < 0.09) & (z / 6 - np.floor(z / 6) < 0.5)
    lines = (np.abs(side - ROAD + 0.28) < 0.08) | dashes
    asphalt = np.where(lines, 205, 92 + grain)
    joints = (x - np.floor(x) < 0.08) | (z - np.floor(z) < 0.08)
    slabs = np.where(side < ROAD + 0.18, 176, 148 + grain - 34 * near * joints)
    grey = np.where(road, asphalt, slabs) * np.where(x > scene.shade, 0.72, 1)
    return in_haze(grey[:, None] * np.where(road[:, None], _ASPHALT, _SLABS), scene, depth)


def _sky(scene: Scene, view: View) -> Floats:
    """Returns the colours (H, W, 3) of a clouded sky that is paler towards the horizon."""
    fall = np.minimum(np.arange(view.height, dtype=np.float32) / view.horizon, 1)[:, None, None] ** 1.5
    colours = _rgb(scene.zenith) * (1 - fall) + _rgb(scene.horizon) * fall
    clouds = cv2.resize(scene.clouds, (view.width, view.height), interpolation=cv2.INTER_CUBIC)
    clouds = np.roll(clouds, round(view.yaw * view.focal), axis=1)[..., None]
    cover: Floats = np.clip(clouds - 0.5, 0, 0.4) * (1.8 - 1.5 * fall)
    clouded: Floats = colours + (246 - colours) * cover
    return clouded


def _texture(scene: Scene, row: Floats, column: Floats) -> Floats:
    """Returns standard normal noise that is fixed to points of the world, so that it moves with them in the image."""
    noise: Floats = scene.noise[row.astype(np.int32) & 127, column.astype(np.int32) & 127]
    return noise


def in_haze(colours: Floats, scene: Scene, depth: Floats) -> Floats:
    """Returns colours (P, 3) as they appear through the haze from `depth` (P,) metres away."""
    haze = _rgb(scene.horizon)
    seen: Floats = haze + (colours - haze) * np.exp(-depth / HAZE)[:, None]
    return seen


def _rgb(colour: tuple[int, int, int]) -> Floats:
    return np.array(colour, np.float32)
