"""Where everything stands in a generated street and how it moves, in metres and steps as in `objects`."""

import math
from dataclasses import dataclass

import numpy as np

from vseg_nas.data.street.objects import Floats, Kind, Shapes, StreetObject, shapes_of
from vseg_nas.labels import Colour

ROAD = 5.0
"""Half the width of the road, in metres."""
WALL = 9.5
"""Distance of the house fronts from the middle of the road, in metres; the pavement lies between."""
VIEW = 90.0
"""Distance up to which objects are drawn, in metres."""

_WALLS = ((172, 110, 88), (196, 178, 148), (150, 146, 140), (208, 200, 186), (140, 96, 78), (122, 128, 136))
_PAINT = (
    (170, 40, 36),
    (38, 62, 120),
    (208, 208, 204),
    (40, 42, 46),
    (126, 130, 134),
    (64, 104, 84),
    (196, 160, 60),
)
_FURNITURE: tuple[Kind, ...] = ("tree", "tree", "lamp", "lamp", "sign")
_CLOTHES = ((160, 48, 60), (52, 72, 118), (190, 182, 168), (44, 44, 52), (84, 112, 80), (206, 148, 66))
_SKIES = (  # zenith, horizon, light
    ((92, 142, 206), (206, 220, 232), 1.0),
    ((150, 160, 172), (206, 208, 208), 0.85),
    ((110, 120, 168), (240, 196, 156), 0.75),
    ((120, 168, 222), (228, 232, 228), 1.12),
)


@dataclass(frozen=True)
class Houses:
    """The n houses on one side of the street. A house of height 0 is the mouth of a side street.

    Attributes:
        edges: (n + 1,) positions along z where each house begins, and where the last one ends, in metres.
        heights: (n,) heights in metres.
        colours: (n, 3) RGB of the walls.
        pitch: (n,) distances from window to window, in metres.
    """

    edges: Floats
    heights: Floats
    colours: Floats
    pitch: Floats


@dataclass(frozen=True)
class Scene:
    """A street, its weather and the drive through it.

    Attributes:
        houses: The houses on the left and those on the right.
        shapes: The polygons of everything that stands or moves in front of the houses.
        zenith: RGB of the sky overhead.
        horizon: RGB of the sky at the horizon, and of the haze.
        light: The brightness, around 1.
        shade: The position across the street where the shadow of the houses begins, in metres from the middle.
        speed: The speed of the camera in metres per step.
        sway: The phase of the car's slow movements, in radians.
        noise: (128, 128) standard normal texture.
        clouds: (20, 6) coarse map of cloudiness, in 0..1.
    """

    houses: tuple[Houses, Houses]
    shapes: Shapes
    zenith: Colour
    horizon: Colour
    light: float
    shade: float
    speed: float
    sway: float
    noise: Floats
    clouds: Floats


def build_scene(rng: np.random.Generator, steps: int) -> Scene:
    """Draws a random street that is long enough for a drive of so many steps."""
    speed = rng.uniform(0.35, 0.9)
    end = speed * steps + VIEW
    zenith, horizon, light = _SKIES[rng.integers(len(_SKIES))]
    return Scene(
        houses=(_houses(rng, end), _houses(rng, end)),
        shapes=shapes_of([*_furniture(rng, end), *_cars(rng, end, speed, steps), *_people(rng, end, steps)]),
        zenith=zenith,
        horizon=horizon,
        light=light * rng.uniform(0.9, 1.05),
        shade=rng.uniform(-ROAD, ROAD),
        speed=speed,
        sway=rng.uniform(0, 2 * math.pi),
        noise=rng.standard_normal((128, 128), dtype=np.float32),
        clouds=rng.random((20, 6), dtype=np.float32),
    )


def _houses(rng: np.random.Generator, end: float) -> Houses:
    """Returns houses that reach from behind the camera to beyond the end of the view."""
    number = int((end + 60) / 7) + 3
    widths = rng.uniform(7, 18, number)
    heights = rng.uniform(5, 19, number)
    heights[rng.random(number) < 0.14] = 0
    colours = np.array(_WALLS)[rng.integers(len(_WALLS), size=number)] + rng.normal(0, 10, (number, 3))
    edges = np.concatenate([[0], np.cumsum(widths)]) - 20
    pitch = rng.uniform(1.6, 3.0, number)
    return Houses(*(array.astype(np.float32) for array in (edges, heights, colours, pitch)))


def _furniture(rng: np.random.Generator, end: float) -> list[StreetObject]:
    """Returns trees, lamps and signs along both kerbs."""
    objects = []
    for side in (-1, 1):
        z = rng.uniform(2, 9)
        while z < end:
            kind = _FURNITURE[rng.integers(len(_FURNITURE))]
            leaves = (int(rng.integers(48, 96)), int(rng.integers(92, 136)), int(rng.integers(36, 66)))
            x = side * rng.uniform(ROAD + 0.4, ROAD + 1.2)
            objects.append(StreetObject(kind, x, z, 0, 0, rng.uniform(0.8, 1.25), leaves, rng.uniform(0, 6)))
            z += rng.uniform(3.5, 10)
    return objects


def _cars(rng: np.random.Generator, end: float, speed: float, steps: int) -> list[StreetObject]:
    """Returns parked cars at both kerbs, oncoming cars on the left, and leading cars that come closer or draw away."""

    def car(x: float, z: float, vz: float) -> StreetObject:
        paint = _PAINT[rng.integers(len(_PAINT))]
        return StreetObject("car", x, z, 0, vz, rng.uniform(0.92, 1.12), paint, rng.uniform(0, 6))

    parked = [
        car(side * 4.0, z + rng.uniform(0, 3), 0)
        for side in (-1, 1)
        for z in np.arange(3, end, 7.5)
        if rng.random() < 0.4
    ]
    oncoming_speed = rng.uniform(0.5, 1.1)
    reach = end + oncoming_speed * steps
    oncoming = [car(-1.8, z + rng.uniform(0, 12), -oncoming_speed) for z in np.arange(8, reach, 26)]
    leading_speed = max(0.1, speed + rng.uniform(-5, 6) / max(steps, 6))  # never closer than 4 m
    leading = [car(1.7, z + rng.uniform(0, 8), leading_speed) for z in np.arange(9, end, 24)]
    return parked + oncoming + leading


def _people(rng: np.random.Generator, end: float, steps: int) -> list[StreetObject]:
    """Returns pedestrians who walk along the pavements, and some who cross the road."""
    objects = []
    for z in np.arange(4, end, 5.0):
        if rng.random() < 0.6:
            clothes = _CLOTHES[rng.integers(len(_CLOTHES))]
            side, along = rng.choice([-1, 1]), rng.normal(0, 0.12)
            x, across = side * rng.uniform(ROAD + 0.5, WALL - 0.6), 0.0
            if rng.random() < 0.35:
                across = -side * rng.uniform(0.1, 0.3)
                x = side * rng.uniform(0, ROAD) - across * rng.uniform(0, steps)
            place = z + rng.uniform(0, 4)
            size, phase = rng.uniform(0.85, 1.1), rng.uniform(0, 6)
            objects.append(StreetObject("pedestrian", x, place, across, along, size, clothes, phase))
    return objects
