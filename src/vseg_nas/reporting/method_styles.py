"""How each method of an evaluation is drawn, the same in all figures."""

from collections.abc import Sequence
from typing import Any, NamedTuple

from vseg_nas.reporting.methods import Method
from vseg_nas.reporting.palette import BLUE, GREEN, GREY, ORANGE, PURPLE, SKY, VERMILLION

COLOURS = (BLUE, VERMILLION, GREEN, PURPLE, SKY, ORANGE)
MARKERS = ("s", "D", "^", "v", "P", "X", "*", "h")
DASHES: tuple[Any, ...] = ("--", (0, (1, 1.2)), "-.", (0, (5, 1, 1, 1, 1, 1)))
TUNED_DASHES: tuple[Any, ...] = ((0, (6, 1.5)), (0, (2, 1.5)))


class Style(NamedTuple):
    """Colour, dashes and marker."""

    colour: str
    dash: Any
    marker: str


def method_styles(found: Sequence[Method]) -> dict[str, Style]:
    """By label: the static network is black, and dashed if trained on; cells are coloured, everything else grey."""
    cells = [method.label for method in found if method.cell]
    styles = {method.label: Style("#000000", "-", "o") for method in found if method.is_static}
    tuned = [method.label for method in found if method.is_tuned_static]
    for i, name in enumerate(tuned):
        styles[name] = Style("#000000", TUNED_DASHES[i % len(TUNED_DASHES)], "<>"[i % 2])
    others = [method.label for method in found if not method.cell and method.label not in styles]
    for i, name in enumerate(others):
        styles[name] = Style(GREY, DASHES[i % len(DASHES)], MARKERS[-1 - i % len(MARKERS)])
    for i, name in enumerate(cells):
        styles[name] = Style(COLOURS[i % len(COLOURS)], "-", MARKERS[i % len(MARKERS)])
    return styles
