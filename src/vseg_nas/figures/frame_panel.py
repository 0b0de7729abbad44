"""Draws Figures 5 and 6: frame, static network, cell and ground truth side by side, one row for each frame."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.font_manager import FontProperties, findfont
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from vseg_nas.evaluation.panel_row import PanelRow
from vseg_nas.labels import IGNORE, Colour
from vseg_nas.results.names import label
from vseg_nas.runs.files import replacing

VOID: Colour = (0, 0, 0)
INK: Colour = (20, 20, 20)
LEAST_WIDTH, MOST_WIDTH = 320, 640  # width of one picture in pixels
GAP = 8
LINE = 1.6  # height of a line of text, in font sizes


def save_panel(
    rows: Sequence[PanelRow],
    path: Path,
    classes: Sequence[str],
    palette: Sequence[Colour],
    method: str = "ours",
    title: str | None = None,
) -> Path:
    """Draws a row for each frame with its name and mIoUs below, and the colours of the classes at the bottom.

    Pictures are resized to a common width between 320 and 640 pixels; class ids are never interpolated.

    Args:
        rows: The frames, at least one, all of the same size.
        path: The PNG file to write; it is replaced whole.
        classes: The names of the classes, in the order of their ids.
        palette: The RGB colour of each class.
        method: The heading of the cell's column.
        title: The title of the panel.

    Returns:
        `path`.

    Raises:
        ValueError: Rows have different sizes, or an id has no colour.
    """
    height, width = rows[0].static.shape
    if any(row.static.shape != (height, width) for row in rows):
        raise ValueError("rows: found frames of different sizes, expected one size")
    across = width * -(-LEAST_WIDTH // width) if width < LEAST_WIDTH else min(width, MOST_WIDTH)
    size = (across, round(height * across / width))
    font = ImageFont.truetype(findfont(FontProperties(family="DejaVu Sans")), size=max(15, across // 21))
    table = {**dict(enumerate(palette)), IGNORE: VOID}
    strips = [_text_strip([title], 4 * (across + GAP), font)] if title else []
    strips.append(_text_strip(["frame", "static network per frame", method, "truth"], across + GAP, font))
    for row in rows:
        strips += [_picture_strip(row, size, table), _text_strip(captions(row), across + GAP, font)]
    strips.append(_legend(classes, palette, 4 * (across + GAP), font))
    with replacing(path) as partial:
        _stacked(strips).save(partial, format="PNG", optimize=True)
    return path


def captions(row: PanelRow) -> list[str | None]:
    """Returns the texts below the pictures of a row: the frame's name, and both mIoUs with the gain of the cell."""
    scores = [None if miou is None else f"mIoU {100 * miou:.1f} %" for miou in (row.static_miou, row.ours_miou)]
    if row.static_miou is not None and row.ours_miou is not None:
        scores[1] = f"{scores[1]} ({100 * (row.ours_miou - row.static_miou):+.1f})"
    return [row.name, *scores]


def _picture_strip(row: PanelRow, size: tuple[int, int], table: dict[int, Colour]) -> Image.Image:
    strip = Image.new("RGB", (4 * (size[0] + GAP), size[1]), "white")
    maps = (_coloured(ids, table) for ids in (row.static, row.ours, row.truth))
    frame = Image.fromarray(row.frame).resize(size, Image.Resampling.LANCZOS)
    for i, picture in enumerate((frame, *(m.resize(size, Image.Resampling.NEAREST) for m in maps))):
        strip.paste(picture, (i * (size[0] + GAP) + GAP // 2, 0))
    return strip


def _coloured(ids: NDArray[np.uint8], table: dict[int, Colour]) -> Image.Image:
    unknown = sorted(set(np.unique(ids).tolist()) - table.keys())
    if unknown:
        raise ValueError(f"class ids: found {unknown[:5]}, expected ids with a colour")
    colours = np.zeros((256, 3), np.uint8)
    for index, colour in table.items():
        colours[index] = colour
    return Image.fromarray(colours[ids])


def _text_strip(texts: Sequence[str | None], step: int, font: ImageFont.FreeTypeFont) -> Image.Image:
    """Draws texts side by side, ``step`` pixels apart, each cut to that width."""
    strip = Image.new("RGB", (step * len(texts), round(LINE * font.size)), "white")
    draw = ImageDraw.Draw(strip)
    for i, text in enumerate(texts):
        if text:
            draw.text((i * step + GAP // 2, 0.1 * font.size), _cut(text, step - GAP, font), fill=INK, font=font)
    return strip


def _cut(text: str, width: int, font: ImageFont.FreeTypeFont) -> str:
    line = " ".join(text.split())[:200]
    while font.getlength(line) > width:
        line = f"{line.rstrip('…')[:-1]}…"
    return line


def _legend(classes: Sequence[str], palette: Sequence[Colour], width: int, font: ImageFont.FreeTypeFont) -> Image.Image:
    entries = [*zip(map(label, classes), palette, strict=True), ("void", VOID)]
    step, side = round(LINE * font.size), round(0.9 * font.size)
    places: list[tuple[int, int]] = []
    x, y = GAP // 2, step // 2
    for text, _ in entries:
        length = round(side + 0.5 * font.size + font.getlength(text) + 1.5 * font.size)
        if x > GAP // 2 and x + length > width:
            x, y = GAP // 2, y + step
        places.append((x, y))
        x += length
    strip = Image.new("RGB", (width, y + step + GAP), "white")
    draw = ImageDraw.Draw(strip)
    for (text, colour), (x, y) in zip(entries, places, strict=True):
        draw.rectangle((x, y, x + side, y + side), fill=colour, outline=INK)
        draw.text((x + side + 0.5 * font.size, y - 0.1 * font.size), text, fill=INK, font=font)
    return strip


def _stacked(strips: Sequence[Image.Image]) -> Image.Image:
    panel = Image.new("RGB", (max(s.width for s in strips), sum(s.height for s in strips)), "white")
    y = 0
    for strip in strips:
        panel.paste(strip, (0, y))
        y += strip.height
    return panel
