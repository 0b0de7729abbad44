"""One self-contained HTML page: pictures inside it, nothing fetched, no script, and all text from files escaped."""

import base64
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from vseg_nas.reporting.table_formats import Cell, Code, Table
from vseg_nas.results.numbers import MISSING, Number

SHOWN_COMMANDS = 2
"""Commands behind a block that are shown; more are folded away."""
UNBROKEN = 24
"""Characters of a cell that stay on one line."""

_TEMPLATES = Path(__file__).parent / "templates"
_MEDIA_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}


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

    @property
    def data_uri(self) -> str:
        """The picture itself as the address of an image, which runs no script: a vector graphic where there is one."""
        path = next((path for path in self.files if path.suffix == ".svg"), self.files[0])
        content = base64.b64encode(path.read_bytes()).decode("ascii")
        return f"data:{_MEDIA_TYPES[path.suffix]};base64,{content}"


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
        title: Title of the document.
        introduction: Paragraph below it.
        command: Command that made the page.
        sections: Parts of the page, in order.
    """
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        keep_trailing_newline=True,
    )
    environment.tests |= {
        "number": lambda cell: isinstance(cell, Number),
        "code": lambda cell: isinstance(cell, Code),
        "picture": lambda block: isinstance(block, Picture),
    }
    environment.filters |= {"shown": _shown, "widest_spreads": _widest_spreads}
    return environment.get_template("page.html.j2").render(
        title=title,
        introduction=introduction,
        command=command,
        sections=sections,
        shown_commands=SHOWN_COMMANDS,
        unbroken=UNBROKEN,
    )


def _shown(cell: Cell) -> str:
    return MISSING if cell is None else str(cell)


def _widest_spreads(table: Table) -> list[str]:
    """The widest ± of each column; empty where there is none, or where quartiles have a line of their own.

    Numbers without a spread leave so much room on their right that all numbers of the column stand below each other.
    """
    columns = [[row[i] for row in table.rows] for i in range(len(table.columns))]
    numbers = [[cell for cell in column if isinstance(cell, Number)] for column in columns]
    spreads = [[] if any(n.quartiles for n in column) else [n.spread for n in column] for column in numbers]
    return [max(column, key=len, default="") for column in spreads]


def slug(name: str) -> str:
    """A name as a part of a file name: letters, digits and single hyphens, at most 60."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:60].lower() or "run"
