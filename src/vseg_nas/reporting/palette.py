"""Colours and names shared by every picture.

Okabe and Ito's colours, told apart by colour-blind readers; the purple is Tol's, dark enough for lines.
"""

import re
import textwrap

ORANGE = "#E69F00"
SKY = "#56B4E9"
GREEN = "#009E73"
BLUE = "#0072B2"
VERMILLION = "#D55E00"
PURPLE = "#AA3377"
GREY = "#6B6B6B"
PALE = "#C4C4C4"

DATASETS = {"camvid": "CamVid", "cityscapes": "CityScapes"}
SERIES = (BLUE, ORANGE, GREEN, PURPLE, SKY, "#000000")  # as many as the largest vocabulary has entries


def label(name: str) -> str:
    """A vocabulary name as a person reads it: `prev_layer4` -> `previous layer 4`, `conv_3d` -> `conv 3d`."""
    words = re.sub(r"layer(\d)", r"layer \1", name.replace("_", " "))
    return re.sub(r"(\d)x(\d)", "\\1\N{MULTIPLICATION SIGN}\\2", words.replace("prev ", "previous "))


def box_label(name: str, width: int = 13) -> str:
    """`label`, broken into lines of at most `width` characters."""
    return "\n".join(textwrap.wrap(label(name), width))
