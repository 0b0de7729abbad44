"""One self-contained HTML page: pictures inside it, nothing fetched, no script, and all text from files escaped."""

import base64
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TypeAlias

from vseg_nas.reporting.html_table import html_table
from vseg_nas.reporting.page_style import STYLE
from vseg_nas.reporting.svg import inline_svg
from vseg_nas.reporting.table_formats import Table

SHOWN_COMMANDS = 2  # more are folded away


@dataclass(frozen=True)
class Picture:
    """A figure of the page.

    Attributes:
        title: its first words.
        caption: what is seen.
        files: the same picture in one or two formats; an SVG goes into the page, otherwise the PNG.
        commands: that made what it shows.
    """

    title: str
    caption: str
    files: tuple[Path, ...]
    commands: tuple[str, ...]


@dataclass(frozen=True)
class TableBlock:
    """A table of the page, the files that hold the same, and the commands that made its numbers."""

    table: Table
    files: tuple[Path, ...]
    commands: tuple[str, ...]

    @property
    def title(self) -> str:
        """That of the table."""
        return self.table.title


Block: TypeAlias = Picture | TableBlock


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading; never empty."""

    title: str
    blocks: tuple[Block, ...]


def page_html(title: str, introduction: str, command: str, sections: Sequence[Section]) -> str:
    """The page. Every argument is plain text.

    Args:
        title: of the document.
        introduction: a paragraph below it.
        command: that made the page.
        sections: in order.
    """
    anchors = list(_anchors(sections))
    body = [_section(section, ids) for section, ids in zip(sections, anchors, strict=True)]
    return "\n".join(
        [
            "<!DOCTYPE html>",
            '<html lang="en">',
            "<head>",
            '<meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            f"<title>{escape(title)}</title>",
            f"<style>{STYLE}</style>",
            "</head>",
            "<body>",
            _navigation(sections, anchors),
            '<main id="top">',
            f"<h1>{escape(title)}</h1>",
            f"<p>{escape(introduction)}</p>",
            f"<pre><code>{escape(command)}</code></pre>",
            *body,
            "</main>",
            "</body>",
            "</html>",
            "",
        ]
    )


def _anchors(sections: Sequence[Section]) -> Iterator[list[str]]:
    """Ids of each section and of its blocks, different all over the page."""
    for i, section in enumerate(sections, 1):
        yield [f"part-{i}", *(f"part-{i}-{j}" for j in range(1, len(section.blocks) + 1))]


def _navigation(sections: Sequence[Section], anchors: Sequence[Sequence[str]]) -> str:
    items = []
    for section, (own, *inner) in zip(sections, anchors, strict=True):
        blocks = "".join(_link(anchor, block.title) for anchor, block in zip(inner, section.blocks, strict=True))
        items.append(f'<li><a href="#{own}">{escape(section.title)}</a><ul>{blocks}</ul></li>')
    return f'<nav aria-label="Contents"><a class="home" href="#top">Contents</a><ul>{"".join(items)}</ul></nav>'


def _link(anchor: str, text: str) -> str:
    return f'<li><a href="#{anchor}">{escape(text)}</a></li>'


def _section(section: Section, anchors: Sequence[str]) -> str:
    own, *inner = anchors
    blocks = (_block(block, anchor) for block, anchor in zip(section.blocks, inner, strict=True))
    return f'<section id="{own}">\n<h2>{escape(section.title)}</h2>\n{chr(10).join(blocks)}\n</section>'


def _block(block: Block, anchor: str) -> str:
    if isinstance(block, TableBlock):
        return _table_block(block, anchor)
    caption = f"<strong>{escape(block.title)}.</strong> {escape(block.caption)}"
    return (
        f'<figure id="{anchor}"><div class="picture">{_embedded(block, anchor)}</div>'
        f"<figcaption><p>{caption}</p>{_origin(block)}</figcaption></figure>"
    )


def _embedded(picture: Picture, anchor: str) -> str:
    for path in picture.files:
        if path.suffix == ".svg":
            return inline_svg(path, f"{anchor}-", picture.title)
    data = base64.b64encode(picture.files[0].read_bytes()).decode("ascii")
    return f'<img alt="{escape(picture.title)}" src="data:image/png;base64,{data}">'


def _origin(block: Block) -> str:
    """The commands behind a block, and the files beside the page that hold it."""
    files = ", ".join(f"<code>{escape(path.name)}</code>" for path in block.files)
    commands = "".join(f"<pre><code>{escape(command)}</code></pre>" for command in dict.fromkeys(block.commands))
    unfolded = " open" if len(set(block.commands)) <= SHOWN_COMMANDS else ""
    made = f"<details{unfolded}><summary>Made from the results of</summary>{commands}</details>" if commands else ""
    return f'{made}<p class="files">Files: {files}</p>' if files else made


def _table_block(block: TableBlock, anchor: str) -> str:
    title = escape(block.table.title)
    return f'<div class="table" id="{anchor}"><h3>{title}</h3>{html_table(block.table)}{_origin(block)}</div>'


def slug(name: str) -> str:
    """A name as a part of a file name: letters, digits and single hyphens, at most 60."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:60].lower() or "run"
