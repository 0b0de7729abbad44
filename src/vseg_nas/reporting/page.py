"""Writes one self-contained HTML page: pictures are inside it, it has no script, and all text from files is escaped."""

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
"""How many commands of a block are shown at once; more are folded away."""
UNBROKEN = 24
"""How many characters of a table cell stay on one line."""

_TEMPLATES = Path(__file__).parent / "templates"
_MEDIA_TYPES = {".svg": "image/svg+xml", ".png": "image/png"}


@dataclass(frozen=True)
class Picture:
    """A figure on the page.

    Attributes:
        title: The first words of the caption.
        caption: One or more sentences on what the figure shows.
        files: The same picture in one or two formats; the page holds the SVG, or the PNG if there is no SVG.
        commands: The commands whose results it shows.
    """

    title: str
    caption: str
    files: tuple[Path, ...]
    commands: tuple[str, ...]

    @property
    def data_uri(self) -> str:
        """The picture as a data URI for an image element, in which an SVG cannot run a script."""
        path = next((path for path in self.files if path.suffix == ".svg"), self.files[0])
        content = base64.b64encode(path.read_bytes()).decode("ascii")
        return f"data:{_MEDIA_TYPES[path.suffix]};base64,{content}"


@dataclass(frozen=True)
class TableBlock:
    """A table on the page, the files that hold the same table, and the commands whose results it shows."""

    table: Table
    files: tuple[Path, ...]
    commands: tuple[str, ...]

    @property
    def title(self) -> str:
        """The title of the table."""
        return self.table.title


Block: TypeAlias = Picture | TableBlock


@dataclass(frozen=True)
class Section:
    """A part of the page with a heading and at least one block."""

    title: str
    blocks: tuple[Block, ...]


def page_html(title: str, introduction: str, command: str, sections: Sequence[Section]) -> str:
    """Returns the page as HTML. Every text is plain and will be escaped.

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
    """Returns the widest ± of each column; empty if there is none, or if quartiles stand on a line of their own.

    A number without a spread leaves that much room on its right, so that all numbers of the column are aligned.
    """
    columns = [[row[i] for row in table.rows] for i in range(len(table.columns))]
    numbers = [[cell for cell in column if isinstance(cell, Number)] for column in columns]
    spreads = [[] if any(n.quartiles for n in column) else [n.spread for n in column] for column in numbers]
    return [max(column, key=len, default="") for column in spreads]


def slug(name: str) -> str:
    """Returns a name as a part of a file name: at most 60 letters, digits and single hyphens."""
    return re.sub(r"[^A-Za-z0-9]+", "-", name).strip("-")[:60].lower() or "run"
