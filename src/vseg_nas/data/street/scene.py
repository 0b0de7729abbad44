"""What stands where in a generated street, and how it moves: metres and frames, as in `things`."""

import math
from dataclasses import dataclass

import numpy as np

from vseg_nas.data.clip import Colour
from vseg_nas.data.street.things import Floats, Kind, Shapes, Thing, shapes_of

ROAD = 5.0
"""Half the width of the road."""
WALL = 9.5
"""Distance of the house fronts from the middle of the road; the pavement lies between."""
VIEW = 90.0
"""How far there is anything to see."""

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
    """One side of the street, end to end; a house without height is the mouth of a side street.

    Attributes:
        edges: (n + 1,) where along z each house begins and the last one ends.
        heights: (n,) metres.
        colours: (n, 3) RGB.
        pitch: (n,) metres from window to window.
    """

    edges: Floats
    heights: Floats
    colours: Floats
    pitch: Floats


@dataclass(frozen=True)
class Scene:
    """A street, its weather and the drive through it.

    Attributes:
        houses: Those on the left and on the right.
        shapes: Everything that stands or moves before them.
        zenith: Colour of the sky above.
        horizon: Colour of the sky at the horizon, and of the haze.
        light: Brightness, around 1.
        shade: Where across the street the shadow of the houses begins.
        speed: Metres per frame.
        sway: Phase of the car's slow movements.
        noise: (128, 128) standard normal texture.
        clouds: Coarse map of cloudiness, 0 to 1.
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


def build_scene(rng: np.random.Generator, frames: int) -> Scene:
    """Draw a street that is long enough for a drive of so many frames."""
    speed = rng.uniform(0.35, 0.9)
    end = speed * frames + VIEW
    zenith, horizon, light = _SKIES[rng.integers(len(_SKIES))]
    return Scene(
        houses=(_houses(rng, end), _houses(rng, end)),
        shapes=shapes_of([*_furniture(rng, end), *_cars(rng, end, speed, frames), *_people(rng, end, frames)]),
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
    """Houses from behind the camera to beyond the end of the view."""
    number = int((end + 60) / 7) + 3
    widths = rng.uniform(7, 18, number)
    heights = rng.uniform(5, 19, number)
    heights[rng.random(number) < 0.14] = 0
    colours = np.array(_WALLS)[rng.integers(len(_WALLS), size=number)] + rng.normal(0, 10, (number, 3))
    edges = np.concatenate([[0], np.cumsum(widths)]) - 20
    pitch = rng.uniform(1.6, 3.0, number)
    return Houses(*(array.astype(np.float32) for array in (edges, heights, colours, pitch)))


def _furniture(rng: np.random.Generator, end: float) -> list[Thing]:
    """Trees, lamps and signs along both kerbs."""
    things = []
    for side in (-1, 1):
        z = rng.uniform(2, 9)
        while z < end:
            kind = _FURNITURE[rng.integers(len(_FURNITURE))]
            leaves = (int(rng.integers(48, 96)), int(rng.integers(92, 136)), int(rng.integers(36, 66)))
            x = side * rng.uniform(ROAD + 0.4, ROAD + 1.2)
            things.append(Thing(kind, x, z, 0, 0, rng.uniform(0.8, 1.25), leaves, rng.uniform(0, 6)))
            z += rng.uniform(3.5, 10)
    return things


def _cars(rng: np.random.Generator, end: float, speed: float, frames: int) -> list[Thing]:
    """Parked cars at both kerbs, oncoming ones on the left, and some ahead that close in or draw away."""

    def car(x: float, z: float, vz: float) -> Thing:
        paint = _PAINT[rng.integers(len(_PAINT))]
        return Thing("car", x, z, 0, vz, rng.uniform(0.92, 1.12), paint, rng.uniform(0, 6))

    parked = [
        car(side * 4.0, z + rng.uniform(0, 3), 0)
        for side in (-1, 1)
        for z in np.arange(3, end, 7.5)
        if rng.random() < 0.4
    ]
    oncoming_speed = rng.uniform(0.5, 1.1)
    reach = end + oncoming_speed * frames
    oncoming = [car(-1.8, z + rng.uniform(0, 12), -oncoming_speed) for z in np.arange(8, reach, 26)]
    leading_speed = max(0.1, speed + rng.uniform(-5, 6) / max(frames, 6))  # never closer than 4 m
    leading = [car(1.7, z + rng.uniform(0, 8), leading_speed) for z in np.arange(9, end, 24)]
    return parked + oncoming + leading


def _people(rng: np.random.Generator, end: float, frames: int) -> list[Thing]:
    """Pedestrians who walk along the pavements, and some who cross the road."""
    things = []
    for z in np.arange(4, end, 5.0):
        if rng.random() < 0.6:
            clothes = _CLOTHES[rng.integers(len(_CLOTHES))]
            side, along = rng.choice([-1, 1]), rng.normal(0, 0.12)
            x, across = side * rng.uniform(ROAD + 0.5, WALL - 0.6), 0.0
            if rng.random() < 0.35:
                across = -side * rng.uniform(0.1, 0.3)
                x = side * rng.uniform(0, ROAD) - across * rng.uniform(0, frames)
            place = z + rng.uniform(0, 4)
            size, phase = rng.uniform(0.85, 1.1), rng.uniform(0, 6)
            things.append(Thing("pedestrian", x, place, across, along, size, clothes, phase))
    return things
