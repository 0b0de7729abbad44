"""Trees, lamps, signs, cars and pedestrians as flat convex polygons in metres; `view` projects them to pixels.

The world has x to the right, y up and z along the street; the camera moves towards larger z. Times are in steps of a
tenth of a second.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from vseg_nas.labels import Colour

Floats = NDArray[np.float32]
Kind = Literal["tree", "lamp", "sign", "car", "pedestrian"]
Point = tuple[float, float, float]

CAR_LENGTH = 4.3
_CORNERS = 10
_GLASS = (52, 62, 74)
_RUBBER = (30, 30, 32)
_WOOD = (84, 64, 48)
_STEEL = (92, 96, 100)
_WHITE = (232, 232, 228)
_SKIN = (206, 160, 132)
_SIGNS = ((190, 32, 36), (36, 70, 160), (226, 176, 40))


class StreetClass(IntEnum):
    """The class ids of a generated street."""

    SKY = 0
    BUILDING = 1
    ROAD = 2
    PAVEMENT = 3
    TREE = 4
    POLE = 5
    CAR = 6
    PEDESTRIAN = 7


@dataclass(frozen=True)
class StreetObject:
    """An object that stands, or moves with constant velocity.

    Attributes:
        kind: The kind of object.
        x: The position across the street at time 0, in metres.
        z: The position along the street at time 0, in metres; for a car that of its nearer end.
        vx: The velocity across the street in metres per step.
        vz: The velocity along the street in metres per step.
        size: A scale factor around 1.
        colour: RGB of paint, clothes or leaves.
        phase: An angle in radians by which objects of one kind differ (gait, crown, sign).
    """

    kind: Kind
    x: float
    z: float
    vx: float
    vz: float
    size: float
    colour: Colour
    phase: float


class Shape(NamedTuple):
    """A convex polygon of at most 10 corners, a part of an object.

    Attributes:
        corners: The (x, y, z) of each corner relative to the foot of the object, in metres.
        colour: The colour as RGB.
        light: A factor by which the colour is multiplied.
        swing: The sideways movement of each corner in a step, in metres; the last value holds for further corners.
    """

    corners: Sequence[Point]
    colour: Colour
    light: float = 1.0
    swing: Sequence[float] = (0.0,)


@dataclass(frozen=True)
class Shapes:
    """The N polygons of all M objects of a scene at time 0; those of one object are in the order of painting.

    Attributes:
        corners: (N, 10, 4) x, y, z in the world, and swing; a polygon of fewer corners repeats its last one.
        foot: (N, 4) z, vx, vz and phase of the object that the polygon belongs to.
        colours: (N, 3) RGB.
        labels: (N,) class ids.
        footprints: (M, 4, 3) corners of the objects' shadows on the ground.
        drift: (M, 2) vx, vz of the objects.
    """

    corners: Floats
    foot: Floats
    colours: Floats
    labels: NDArray[np.uint8]
    footprints: Floats
    drift: Floats


def shapes_of(objects: Sequence[StreetObject]) -> Shapes:
    """Returns the polygons of all objects."""
    parts = [(item, shape) for item in objects for shape in _SHAPES[item.kind](item)]
    return Shapes(
        corners=np.array([_corners(item, shape) for item, shape in parts], np.float32),
        foot=np.array([(one.z, one.vx, one.vz, one.phase) for one, _ in parts], np.float32),
        colours=np.array([shape.colour for _, shape in parts], np.float32)
        * np.array([[shape.light] for _, shape in parts], np.float32),
        labels=np.array([_LABELS[item.kind] for item, _ in parts], np.uint8),
        footprints=np.array([_footprint(item) for item in objects], np.float32),
        drift=np.array([(item.vx, item.vz) for item in objects], np.float32),
    )


def _corners(item: StreetObject, shape: Shape) -> list[tuple[float, float, float, float]]:
    count, swings = len(shape.corners), len(shape.swing)
    placed = []
    for i in range(_CORNERS):
        x, y, z = shape.corners[min(i, count - 1)]
        placed.append((item.x + x, y, item.z + z, shape.swing[min(i, swings - 1)]))
    return placed


def _footprint(item: StreetObject) -> list[Point]:
    half, near, far = _FOOTPRINTS[item.kind]
    return [(item.x + x, 0, item.z + z) for x, z in ((-half, near), (half, near), (half, far), (-half, far))]


def _box(left: float, bottom: float, right: float, top: float) -> list[Point]:
    return [(left, bottom, 0), (right, bottom, 0), (right, top, 0), (left, top, 0)]


def _disc(x: float, y: float, radius: float) -> list[Point]:
    return [(x + radius * across, y + radius * up, 0) for across, up in _CIRCLE]


def _tree(tree: StreetObject) -> Iterable[Shape]:
    size = tree.size
    yield Shape(_box(-0.13 * size, 0, 0.13 * size, 2.5 * size), _WOOD)
    for i in range(6):
        angle = tree.phase + 1.05 * i
        x, y = 0.75 * math.cos(angle) * size, (3.3 + 0.75 * math.sin(angle)) * size
        yield Shape(_disc(x, y, (0.85 + 0.15 * math.sin(3 * angle)) * size), tree.colour, 0.8 + 0.1 * (i % 4))


def _lamp(lamp: StreetObject) -> Iterable[Shape]:
    arm = -1.5 if lamp.x > 0 else 1.5
    yield Shape(_box(-0.08, 0, 0.08, 5.6), _STEEL)
    yield Shape(_box(0, 5.5, arm, 5.62), _STEEL)
    yield Shape(_box(arm - 0.3, 5.36, arm + 0.3, 5.52), _STEEL, 2)


def _sign(sign: StreetObject) -> Iterable[Shape]:
    yield Shape(_box(-0.05, 0, 0.05, 2.4), _STEEL, 1.2)
    yield Shape(_disc(0, 2.5, 0.42), _SIGNS[int(sign.phase) % len(_SIGNS)])
    yield Shape(_disc(0, 2.5, 0.22), _WHITE)


def _car(car: StreetObject) -> Iterable[Shape]:
    """Yields a body and a cabin: the flank that faces the middle of the street, then the nearer end."""
    half, roof, end, paint = 0.88 * car.size, 0.7 * car.size, CAR_LENGTH, car.colour
    flank, rail = (-half, -roof) if car.x > 0 else (half, roof)
    yield Shape([(flank, 0.25, 0), (flank, 0.25, end), (flank, 0.92, end), (flank, 0.92, 0)], paint, 0.82)
    yield Shape([(flank, 0.9, 0.6), (flank, 0.9, 3.7), (rail, 1.46, 2.9), (rail, 1.46, 1.1)], _GLASS, 0.85)
    yield Shape([(-rail, 1.42, 1.1), (rail, 1.42, 1.1), (rail, 1.5, 2.9), (-rail, 1.5, 2.9)], paint, 1.15)
    for z in (0.85, 3.4):
        yield Shape([(flank, 0.33 + 0.33 * up, z + 0.33 * along) for along, up in _CIRCLE], _RUBBER)
    yield Shape([(-half, 0.9, 0.6), (half, 0.9, 0.6), (roof, 1.48, 1.1), (-roof, 1.48, 1.1)], paint)
    inner, upper = half - 0.13, roof - 0.09
    yield Shape([(-inner, 0.95, 0.6), (inner, 0.95, 0.6), (upper, 1.4, 1.1), (-upper, 1.4, 1.1)], _GLASS, 1.2)
    yield Shape([(-half, 0.92, 0), (half, 0.92, 0), (half, 0.94, 0.6), (-half, 0.94, 0.6)], paint, 1.2)
    yield Shape(_box(-half, 0.2, half, 0.92), paint)
    yield Shape(_box(-half, 0.12, half, 0.3), _RUBBER, 1.6)
    lights = (250, 244, 214) if car.vz < 0 else (206, 30, 28)
    yield Shape(_box(-half + 0.06, 0.6, -half + 0.4, 0.78), lights)
    yield Shape(_box(half - 0.4, 0.6, half - 0.06, 0.78), lights)


def _pedestrian(person: StreetObject) -> Iterable[Shape]:
    """Yields two legs that swing over time, a torso between two arms, and a head."""
    size, clothes = person.size, person.colour
    leg = [(-0.1 * size, 0.9 * size, 0), (0.1 * size, 0.9 * size, 0), (0.1 * size, 0, 0), (-0.1 * size, 0, 0)]
    yield Shape(leg, clothes, 0.5, (0, 0, 0.24, 0.24))
    yield Shape(leg, clothes, 0.4, (0, 0, -0.24, -0.24))
    for side in (-1, 1):
        yield Shape(_box(0.2 * side * size, 0.85 * size, 0.31 * side * size, 1.4 * size), clothes, 0.75)
    yield Shape(_box(-0.21 * size, 0.8 * size, 0.21 * size, 1.46 * size), clothes)
    yield Shape(_disc(0, 1.62 * size, 0.15 * size), _SKIN)


_CIRCLE = [(math.cos(2 * math.pi * i / _CORNERS), math.sin(2 * math.pi * i / _CORNERS)) for i in range(_CORNERS)]
_SHAPES = {"tree": _tree, "lamp": _lamp, "sign": _sign, "car": _car, "pedestrian": _pedestrian}
_LABELS = {
    "tree": StreetClass.TREE,
    "lamp": StreetClass.POLE,
    "sign": StreetClass.POLE,
    "car": StreetClass.CAR,
    "pedestrian": StreetClass.PEDESTRIAN,
}
_FOOTPRINTS = {
    "tree": (1.3, -1.0, 1.0),
    "lamp": (0.15, -0.15, 0.15),
    "sign": (0.25, -0.15, 0.15),
    "car": (1.05, -0.3, CAR_LENGTH + 0.3),
    "pedestrian": (0.4, -0.3, 0.3),
}
"""Half the width of the shadow of each kind, and its nearer and farther end relative to the foot, in metres."""
