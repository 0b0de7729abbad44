"""Matplotlib's SVG files as parts of an HTML page."""

import re
from pathlib import Path
from xml.etree import ElementTree

STROKES = "stroke-linejoin:round;stroke-linecap:butt"
"""What Matplotlib says of all strokes in a style sheet of its own, which would hold for the whole page."""


def inline_svg(path: Path, prefix: str, title: str) -> str:
    """An SVG file of ours as an `<svg>` element without name spaces, metadata or style sheet.

    Args:
        path: of the file.
        prefix: put before every id, so that several pictures can share a page.
        title: what a screen reader says.
    """
    root = ElementTree.parse(path).getroot()
    for parent in list(root.iter()):
        for child in list(parent):
            if _local(child.tag) in ("metadata", "style"):
                parent.remove(child)
    for element in root.iter():
        element.tag = _local(element.tag)
        element.attrib = {_local(key): _renamed(key, value, prefix) for key, value in element.attrib.items()}
        element.tail = None  # line breaks
    width = root.attrib.pop("width")
    root.attrib.pop("height")
    root.attrib |= {"role": "img", "aria-label": title, "style": f"width:{width};{STROKES}"}
    return ElementTree.tostring(root, encoding="unicode", short_empty_elements=False)


def _local(name: str) -> str:
    return name.rpartition("}")[2]


def _renamed(key: str, value: str, prefix: str) -> str:
    if key == "id":
        return prefix + value
    if _local(key) == "href":
        return value.replace("#", f"#{prefix}", 1)
    return re.sub(r"url\(#", f"url(#{prefix}", value)
